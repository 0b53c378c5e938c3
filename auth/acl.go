package auth

import (
	"fmt"
	"os"
	"strings"

	"gatewayd/topic"
)

// access is what a rule grants; none is a deny rule.
type access uint8

const (
	none  access = 0
	read  access = 1
	write access = 2
)

// Rules is an ACL file in Mosquitto's format as it was when it was read. It does
// not change and may be used by many goroutines.
//
// What it says is decided in this order, as in Mosquitto: a deny rule of the
// user, a rule of the user that grants the access, a deny pattern, a pattern that
// grants it; otherwise the answer is no. Rules above the first "user" line are
// for clients without a user name only. Patterns are for everybody.
type Rules struct {
	users     map[string]*ruleSet
	anonymous *ruleSet
	patterns  []pattern // deny patterns first
	warnings  []string
}

// ruleSet is what the file says of one user.
type ruleSet struct {
	tree  topic.Tree[access] // every access once under each filter
	allow []grant            // for the subscribe check
	deny  []string
}

type grant struct {
	filter string
	access access
}

// pattern is a filter in which levels "%c" and "%u" stand for the client id and
// the user name.
type pattern struct {
	filter   string
	access   access
	needUser bool
}

// Warnings are remarks on lines that mean less than their writer may think; each
// names file and line.
func (r *Rules) Warnings() []string { return r.warnings }

// ReadRules reads an ACL file. Its errors name file and line.
func ReadRules(file string) (*Rules, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ACL file: %w", err)
	}
	return parseRules(file, text)
}

func parseRules(file string, text []byte) (*Rules, error) {
	r := &Rules{users: map[string]*ruleSet{}, anonymous: &ruleSet{}}
	current := r.anonymous
	for i, line := range lines(text) {
		where := fmt.Sprintf("%s:%d", file, i+1)
		line = strings.TrimRight(line, " \t\r\v\f")
		if strings.HasPrefix(line, "#") {
			continue
		}
		word, rest := cutWord(line)
		switch word {
		case "":
		case "user":
			if rest == "" {
				return nil, fmt.Errorf("%s: user without a name", where)
			}
			if current = r.users[rest]; current == nil {
				current = &ruleSet{}
				r.users[rest] = current
			}
		case "topic", "pattern":
			a, filter, err := parseRule(rest)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			if word == "topic" {
				current.add(filter, a)
			} else {
				r.addPattern(where, filter, a)
			}
		default:
			return nil, fmt.Errorf("%s: %q, want user, topic, pattern or a comment", where, word)
		}
	}
	return r, nil
}

// parseRule reads "[read|write|readwrite|deny] filter". A filter with spaces
// needs the access, as in Mosquitto.
func parseRule(s string) (access, string, error) {
	word, filter := cutWord(s)
	a := read | write
	switch {
	case word == "":
		return 0, "", fmt.Errorf("rule without a topic")
	case filter == "":
		filter = word
	case word == "read":
		a = read
	case word == "write":
		a = write
	case word == "readwrite":
	case word == "deny":
		a = none
	default:
		return 0, "", fmt.Errorf("access %q, want read, write, readwrite or deny", word)
	}
	if err := topic.ValidFilter(filter); err != nil {
		return 0, "", fmt.Errorf("%q: %w", filter, err)
	}
	return a, filter, nil
}

// cutWord takes the first word off s, as Mosquitto does: at spaces.
func cutWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " ")
	word, rest, _ = strings.Cut(s, " ")
	return word, strings.Trim(rest, " \t")
}

func (s *ruleSet) add(filter string, a access) {
	s.tree.Add(filter, a)
	if a == none {
		s.deny = append(s.deny, filter)
	} else {
		s.allow = append(s.allow, grant{filter, a})
	}
}

func (r *Rules) addPattern(where, filter string, a access) {
	p := pattern{filter: filter, access: a}
	whole := false
	for _, level := range strings.Split(filter, "/") {
		switch {
		case level == "%c":
			whole = true
		case level == "%u":
			whole, p.needUser = true, true
		case strings.Contains(level, "%c") || strings.Contains(level, "%u"):
			r.warnings = append(r.warnings, fmt.Sprintf("%s: in level %q %%c and %%u stand for themselves: they must be the whole level", where, level))
		}
	}
	if !whole {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: pattern without %%c or %%u is a rule for everybody", where))
	}
	if a == none {
		r.patterns = append([]pattern{p}, r.patterns...)
	} else {
		r.patterns = append(r.patterns, p)
	}
}
