package mqtttest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// verb is what a step does.
type verb int

const (
	send verb = iota + 1
	expect
	expectAny // in any order
	control
	wait
	hook
)

// field is one name=value of a packet; in an expectation the value may be a
// pattern.
type field struct{ name, value string }

// step is one line of a flow.
type step struct {
	line   int
	text   string
	client string
	verb   verb
	word   string   // packet type, "hex", "nothing", "closed" or the control word
	args   []string // of anything but a packet
	fields []field
	dur    time.Duration
}

// flow is a parsed file.
type flow struct {
	versions []int
	steps    []step
}

var clientPrefix = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9]*)(>|<~|<|!)\s+`)

// parse reads a flow.
func parse(text string) (flow, error) {
	var f flow
	for i, line := range strings.Split(text, "\n") {
		words, err := fieldsOf(line)
		if err != nil {
			return f, fmt.Errorf("line %d: %w", i+1, err)
		}
		if len(words) == 0 {
			continue
		}
		if words[0] == "versions" {
			for _, w := range words[1:] {
				v, err := strconv.Atoi(w)
				if err != nil || v < 3 || v > 5 {
					return f, fmt.Errorf("line %d: versions are 3, 4 and 5", i+1)
				}
				f.versions = append(f.versions, v)
			}
			continue
		}
		s, err := parseStep(strings.TrimSpace(line), words)
		if err != nil {
			return f, fmt.Errorf("line %d: %w", i+1, err)
		}
		s.line, s.text = i+1, strings.TrimSpace(line)
		f.steps = append(f.steps, s)
	}
	if len(f.versions) == 0 {
		f.versions = []int{5}
	}
	return f, nil
}

func parseStep(line string, words []string) (step, error) {
	switch words[0] {
	case "wait":
		return timed(step{verb: wait}, words[1:])
	case "!":
		return step{verb: hook, args: words[1:]}, nil
	}
	m := clientPrefix.FindStringSubmatch(line)
	if m == nil || len(words) < 2 {
		return step{}, fmt.Errorf("want a client and >, < or !, as in: A> PINGREQ")
	}
	s := step{client: m[1], word: words[1], args: words[2:]}
	s.verb = map[string]verb{">": send, "<": expect, "<~": expectAny, "!": control}[m[2]]
	switch {
	case s.verb == control && s.word == "drain", s.verb == expect && s.word == "nothing":
		return timed(s, s.args)
	case s.verb == control || s.word == "hex" || s.word == "closed":
		return s, nil
	}
	for _, w := range s.args {
		name, value, ok := strings.Cut(w, "=")
		if !ok && w != "..." {
			return s, fmt.Errorf("field %q has no =", w)
		}
		s.fields = append(s.fields, field{name, value})
	}
	return s, nil
}

func timed(s step, args []string) (step, error) {
	if len(args) != 1 {
		return s, fmt.Errorf("want one duration, as in 50ms")
	}
	d, err := time.ParseDuration(args[0])
	s.dur = d
	return s, err
}

// fieldsOf splits a line at white space, keeping quoted parts together (and
// unquoting them) and dropping the comment.
func fieldsOf(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		var w strings.Builder
		for line != "" && !strings.ContainsRune(" \t\r", rune(line[0])) {
			if line[0] != '"' {
				w.WriteByte(line[0])
				line = line[1:]
				continue
			}
			q, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("unfinished quote: %s", line)
			}
			u, _ := strconv.Unquote(q)
			w.WriteString(u)
			line = line[len(q):]
		}
		words = append(words, w.String())
	}
}
