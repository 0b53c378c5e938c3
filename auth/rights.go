package auth

import (
	"strings"

	"gatewayd/topic"
)

// MayPublish says whether a client may publish to a name. user is "" for a
// client without a user name. A nil *Rules allows all but $SYS.
func (r *Rules) MayPublish(client, user, name string) bool {
	if strings.HasPrefix(name, "$SYS") && !topic.Match("$SYS/broker/connection/+/state", name) {
		return false // the broker's own, but for the state that a bridge reports
	}
	if strings.HasPrefix(name, "$share") {
		return false
	}
	return r.may(client, user, name, write)
}

// MayReceive says whether messages of a name may be delivered to a client.
func (r *Rules) MayReceive(client, user, name string) bool { return r.may(client, user, name, read) }

func (r *Rules) may(client, user, name string, want access) bool {
	if r == nil {
		return true
	}
	if set := r.set(user); set != nil {
		var room [16]access
		granted := false
		for _, a := range set.tree.AppendMatches(room[:0], name) {
			if a == none {
				return false
			}
			granted = granted || a&want != 0
		}
		if granted {
			return true
		}
	}
	if len(r.patterns) == 0 || dangerous(client) || dangerous(user) {
		return false
	}
	for i := range r.patterns {
		p := &r.patterns[i]
		if p.needUser && user == "" || !p.matches(name, client, user) {
			continue
		}
		if p.access == none {
			return false
		}
		if p.access&want != 0 {
			return true
		}
	}
	return false
}

// set is what the file says of a user: nil when it does not name the user.
func (r *Rules) set(user string) *ruleSet {
	if user == "" {
		return r.anonymous
	}
	return r.users[user]
}

// MaySubscribe says whether a client may subscribe to a filter: whether there
// is a name it selects that the client may read. What it selects beyond its
// rights is not delivered. (Mosquitto grants every subscription and delivers
// nothing; refusing tells the client.)
func (r *Rules) MaySubscribe(client, user, filter string) bool {
	if r == nil {
		return true
	}
	set := r.set(user)
	if set != nil {
		for _, f := range set.deny {
			if topic.Covers(f, filter) {
				return false
			}
		}
		for _, g := range set.allow {
			if g.access&read != 0 && topic.Overlap(g.filter, filter) {
				return true
			}
		}
	}
	if dangerous(client) || dangerous(user) {
		return false
	}
	for _, p := range r.patterns {
		if p.needUser && user == "" {
			continue
		}
		f := p.expand(client, user)
		switch {
		case p.access == none && topic.Covers(f, filter):
			return false
		case p.access&read != 0 && strings.HasPrefix(p.filter, "$") == strings.HasPrefix(f, "$") && topic.Overlap(f, filter):
			return true
		}
	}
	return false
}

// dangerous says whether an id or name would act as a wildcard in a pattern.
func dangerous(s string) bool {
	return strings.IndexByte(s, '+') >= 0 || strings.IndexByte(s, '#') >= 0
}

// expand puts client and user in their places.
func (p *pattern) expand(client, user string) string {
	levels := strings.Split(p.filter, "/")
	for i, level := range levels {
		switch level {
		case "%c":
			levels[i] = client
		case "%u":
			levels[i] = user
		}
	}
	return strings.Join(levels, "/")
}

// matches is topic.Match with client and user in their places, without making
// the filter. A client id with '/' in it stands for several levels.
func (p *pattern) matches(name, client, user string) bool {
	if strings.HasPrefix(name, "$") && p.filter[0] != '$' {
		return false // not even for a client that calls itself "$SYS"
	}
	filter, more := p.filter, true
	nameMore := true
	for more {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		switch {
		case level == "#":
			return true
		case !nameMore:
			return false
		case level == "+":
			_, name, nameMore = strings.Cut(name, "/")
			continue
		case level == "%c":
			level = client
		case level == "%u":
			level = user
		}
		rest, ok := strings.CutPrefix(name, level)
		if !ok || rest != "" && rest[0] != '/' {
			return false
		}
		nameMore = rest != ""
		if nameMore {
			name = rest[1:]
		}
	}
	return !nameMore
}
