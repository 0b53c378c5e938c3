package topic

import (
	"errors"
	"fmt"
	"strings"
)

// Remap renames topics between the local end of a bridge and the remote one,
// as "topic pattern … local-prefix remote-prefix" of mosquitto.conf(5) does:
// what is Local+x here is Remote+x there, for each x that Pattern selects. With
// an empty Pattern it joins the two topics Local and Remote themselves.
type Remap struct {
	Pattern string // filter without the prefixes
	Local   string // prefix on this broker, often ending in '/'
	Remote  string // prefix at the other end
}

// Validate says whether the combination is one that mosquitto.conf(5) allows.
func (r Remap) Validate() error {
	if r.Pattern == "" && (r.Local == "" || r.Remote == "") {
		return errors.New("an empty pattern needs both a local and a remote prefix")
	}
	for _, p := range []struct{ what, prefix string }{{"local", r.Local}, {"remote", r.Remote}} {
		if p.prefix != "" {
			if err := ValidName(p.prefix); err != nil {
				return fmt.Errorf("%s prefix %q: %w", p.what, p.prefix, err)
			}
		}
	}
	for _, f := range []struct{ what, filter string }{{"local", r.LocalFilter()}, {"remote", r.RemoteFilter()}} {
		if err := ValidFilter(f.filter); err != nil {
			return fmt.Errorf("%s topic %q: %w", f.what, f.filter, err)
		}
	}
	return nil
}

// LocalFilter selects on this broker what goes out.
func (r Remap) LocalFilter() string { return r.Local + r.Pattern }

// RemoteFilter selects at the other end what comes in.
func (r Remap) RemoteFilter() string { return r.Remote + r.Pattern }

// Out gives a local name its name at the other end. ok is false when the rule
// does not concern the name or the result would be no valid one.
func (r Remap) Out(name string) (remote string, ok bool) {
	return rename(r.LocalFilter(), r.Local, r.Remote, name)
}

// In gives a name of the other end its local name. In(Out(name)) is name.
func (r Remap) In(name string) (local string, ok bool) {
	return rename(r.RemoteFilter(), r.Remote, r.Local, name)
}

func rename(filter, from, to, name string) (string, bool) {
	if !Match(filter, name) {
		return "", false
	}
	rest, ok := strings.CutPrefix(name, from)
	if !ok {
		// Only the parent that '#' includes: "house" under "house/#" with
		// the prefix "house/". It is the parent at the other end too.
		if to == "" {
			return "", false // the top of everything has no name
		}
		return strings.TrimSuffix(to, "/"), to != "/"
	}
	if from == to {
		return name, true
	}
	renamed := to + rest
	if len(renamed) == 0 || len(renamed) > MaxBytes {
		return "", false
	}
	if hidden(renamed) && !hidden(to) && (filterStartsWild(filter[len(from):])) {
		// "x/$SYS/…" must not become the other end's own "$SYS/…" through a
		// wildcard that would not have selected it there [MQTT-4.7.2-1].
		return "", false
	}
	return renamed, true
}

func filterStartsWild(f string) bool { return f != "" && (f[0] == '+' || f[0] == '#') }
