package bridge

import (
	"fmt"
	"slices"
	"strings"
)

// Site is one gateway as Cycles sees it.
type Site struct {
	Name      string
	Addresses []string // where others reach it, as their bridges may write it
	Bridges   []Options
}

// Cycle is a circle in a configuration: messages that go along Path come back
// to where they began and begin again.
type Cycle struct {
	Path []Hop
}

// Hop is one step of a message from broker to broker.
type Hop struct {
	Site, Bridge string
	Rule         Rule
	Inward       bool
	From, To     string // brokers
	Topics       string // the filter of what passes, as it arrives
}

// String tells the circle as a path.
func (c Cycle) String() string {
	var b strings.Builder
	b.WriteString(c.Path[0].From)
	for _, h := range c.Path {
		way := "out"
		if h.Inward {
			way = "in"
		}
		fmt.Fprintf(&b, " —[%s %s: %s]→ %s (%s)", h.Bridge, way, h.Rule, h.To, h.Topics)
	}
	return b.String()
}

// hop is a Hop with what the search needs.
type hop struct {
	Hop
	bridge   int // number of the bridge: its two ends do not echo
	from, to int // brokers
	filter   string
	in, out  string // prefix that is taken off and the one put on
}

// Cycles finds the circles that the bridges of the sites form, each once, with
// the path that closes it. Brokers are told apart by their addresses; all
// addresses of one bridge are taken for one broker. A star is no circle: what
// came through a bridge does not go back through it.
func Cycles(sites []Site) []Cycle {
	hops := collectHops(sites)
	s := search{hops: hops, seen: map[string]bool{}, steps: 200_000}
	for i := range hops {
		s.path = s.path[:0]
		s.follow(i, hops[i].filter)
	}
	return s.found
}

// collectHops turns every rule into one or two hops.
func collectHops(sites []Site) []hop {
	names := unions{}
	label := map[string]string{}
	for i, site := range sites {
		root := fmt.Sprintf("site %d", i)
		label[names.find(root)] = site.Name
		for _, a := range site.Addresses {
			names.join(root, addressKey(a, Options{}))
		}
		for _, b := range site.Bridges {
			for _, a := range b.Addresses {
				names.join(addressKey(b.Addresses[0], b), addressKey(a, b))
			}
		}
	}
	for i, site := range sites { // joining may have changed the roots
		label[names.find(fmt.Sprintf("site %d", i))] = site.Name
	}
	number := map[string]int{}
	node := func(key string) (int, string) {
		root := names.find(key)
		if _, ok := number[root]; !ok {
			number[root] = len(number)
		}
		if label[root] == "" {
			label[root] = key
		}
		return number[root], label[root]
	}
	var hops []hop
	bridges := 0
	for i, site := range sites {
		here, hereName := node(fmt.Sprintf("site %d", i))
		for _, b := range site.Bridges {
			if len(b.Addresses) == 0 {
				continue
			}
			bridges++
			there, thereName := node(addressKey(b.Addresses[0], b))
			for _, r := range b.Rules {
				h := Hop{Site: site.Name, Bridge: b.Name, Rule: r}
				m := r.remap()
				if r.outward() {
					h.From, h.To = hereName, thereName
					hops = append(hops, hop{h, bridges, here, there, m.LocalFilter(), r.LocalPrefix, r.RemotePrefix})
				}
				if r.inward() {
					h.Inward, h.From, h.To = true, thereName, hereName
					hops = append(hops, hop{h, bridges, there, here, m.RemoteFilter(), r.RemotePrefix, r.LocalPrefix})
				}
			}
		}
	}
	return hops
}

func addressKey(text string, o Options) string {
	a, err := parseAddress(text, o)
	if err != nil {
		return text
	}
	return strings.ToLower(a.host)
}

// unions joins names of the same broker.
type unions map[string]string

func (u unions) find(x string) string {
	for u[x] != "" && u[x] != x {
		x = u[x]
	}
	return x
}

func (u unions) join(a, b string) {
	if a, b = u.find(a), u.find(b); a != b {
		u[b] = a
	}
}

// search walks the hops depth first with the set of topics that got so far.
type search struct {
	hops  []hop
	path  []int
	seen  map[string]bool // circles found, by their hops
	found []Cycle
	steps int // bound of the search
}

// again is how often a circle is followed to be sure that it does not end by
// itself, as one that adds a prefix each time may.
const again = 3

func (s *search) follow(i int, topics string) {
	if s.steps--; s.steps < 0 || slices.Contains(s.path, i) {
		return
	}
	arrived, ok := s.hops[i].carry(topics)
	if !ok {
		return
	}
	s.path = append(s.path, i)
	for j := range s.hops {
		if !s.joins(i, j) {
			continue
		}
		if j == s.path[0] {
			s.close(arrived)
			continue
		}
		s.follow(j, arrived)
	}
	s.path = s.path[:len(s.path)-1]
}

// joins says whether hop j can follow hop i: it begins where i ends, and is
// not the same connection, which sends nothing back.
func (s *search) joins(i, j int) bool {
	return s.hops[i].to == s.hops[j].from && s.hops[i].bridge != s.hops[j].bridge
}

// close follows the path a few times more and keeps it when messages still
// pass.
func (s *search) close(topics string) {
	cycle := Cycle{}
	ok := true
	for range again {
		cycle.Path = cycle.Path[:0]
		for _, i := range s.path {
			if topics, ok = s.hops[i].carry(topics); !ok {
				return
			}
			h := s.hops[i].Hop
			h.Topics = topics
			cycle.Path = append(cycle.Path, h)
		}
	}
	ids := slices.Clone(s.path)
	slices.Sort(ids)
	if key := fmt.Sprint(ids); !s.seen[key] {
		s.seen[key] = true
		s.found = append(s.found, cycle)
	}
}

// carry returns what of topics passes the hop, under its new names.
func (h *hop) carry(topics string) (string, bool) {
	both, ok := intersect(topics, h.filter)
	if !ok {
		return "", false
	}
	rest, ok := strings.CutPrefix(both, h.in)
	if !ok {
		return "", false
	}
	renamed := h.out + rest
	return renamed, renamed != "" && len(renamed) <= 65535
}

// intersect returns the filter of the names that match both a and b.
func intersect(a, b string) (string, bool) {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	var out []string
	for i := 0; ; i++ {
		switch {
		case i < len(as) && as[i] == "#":
			return finishIntersect(out, bs, i)
		case i < len(bs) && bs[i] == "#":
			return finishIntersect(out, as, i)
		case i == len(as) || i == len(bs):
			// '#' includes its parent: "x" and "x/#" meet in "x".
			switch {
			case i == len(as) && i == len(bs):
				return strings.Join(out, "/"), true
			case i == len(as) && i == len(bs)-1 && bs[i] == "#", i == len(bs) && i == len(as)-1 && as[i] == "#":
				return strings.Join(out, "/"), true
			}
			return "", false
		case as[i] == bs[i] || bs[i] == "+":
			out = append(out, as[i])
		case as[i] == "+":
			out = append(out, bs[i])
		default:
			return "", false
		}
	}
}

// finishIntersect is what is left where one side has '#' at level i.
func finishIntersect(out, other []string, i int) (string, bool) {
	first := ""
	if i < len(other) {
		first = other[i]
	}
	if i == 0 && strings.HasPrefix(first, "$") { // [MQTT-4.7.2-1]
		return "", false
	}
	return strings.Join(append(out, other[i:]...), "/"), true
}
