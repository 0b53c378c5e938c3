package mqtttest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatewayd/mqtt"
)

// describe turns a packet into fields, in the order and form a flow writes
// them; fields that are zero are left out.
func describe(p mqtt.Packet) []field {
	var out []field
	add := func(name, value string) {
		if value != "" {
			out = append(out, field{name, value})
		}
	}
	num := func(name string, n int) {
		if n != 0 {
			add(name, strconv.Itoa(n))
		}
	}
	flag := func(name string, b bool) {
		if b {
			add(name, "1")
		}
	}
	props := func(p *mqtt.Properties) {
		for id := range p.All {
			for _, t := range p.Text(id) {
				out = append(out, field{id.String(), t})
			}
		}
	}
	coded := func(pid mqtt.PacketID, code mqtt.ReasonCode, p *mqtt.Properties) {
		num("pid", int(pid))
		num("code", int(code))
		props(p)
	}
	switch p := p.(type) {
	case *mqtt.Connect:
		num("v", int(p.Version))
		add("id", p.ClientID)
		flag("clean", p.CleanStart)
		num("keepalive", int(p.KeepAlive))
		flag("bridge", p.Bridge)
		add("username", p.Username)
		add("password", string(p.Password))
		if w := p.Will; w != nil {
			add("will.topic", w.Topic)
			add("will.payload", string(w.Payload))
			num("will.qos", int(w.QoS))
			flag("will.retain", w.Retain)
		}
		props(p.Properties)
	case *mqtt.Connack:
		flag("sp", p.SessionPresent)
		coded(0, p.Code, p.Properties)
	case *mqtt.Publish:
		add("topic", p.Topic)
		add("payload", string(p.Payload))
		num("qos", int(p.QoS))
		flag("retain", p.Retain)
		flag("dup", p.Dup)
		num("pid", int(p.ID))
		props(p.Properties)
	case *mqtt.Puback:
		coded(p.ID, p.Code, p.Properties)
	case *mqtt.Pubrec:
		coded(p.ID, p.Code, p.Properties)
	case *mqtt.Pubrel:
		coded(p.ID, p.Code, p.Properties)
	case *mqtt.Pubcomp:
		coded(p.ID, p.Code, p.Properties)
	case *mqtt.Subscribe:
		num("pid", int(p.ID))
		for _, q := range p.Requests {
			add("filter", q.Filter)
			num("qos", int(q.Options.QoS()))
			flag("nl", q.Options.NoLocal())
			flag("rap", q.Options.RetainAsPublished())
			num("rh", int(q.Options.RetainHandling()))
		}
		props(p.Properties)
	case *mqtt.Suback:
		num("pid", int(p.ID))
		add("codes", joinCodes(p.Codes))
		props(p.Properties)
	case *mqtt.Unsubscribe:
		num("pid", int(p.ID))
		for _, f := range p.Filters {
			add("filter", f)
		}
		props(p.Properties)
	case *mqtt.Unsuback:
		num("pid", int(p.ID))
		add("codes", joinCodes(p.Codes))
		props(p.Properties)
	case *mqtt.Disconnect:
		coded(0, p.Code, p.Properties)
	case *mqtt.Auth:
		coded(0, p.Code, p.Properties)
	}
	return out
}

func joinCodes(codes []mqtt.ReasonCode) string {
	s := make([]string, len(codes))
	for i, c := range codes {
		s[i] = strconv.Itoa(int(c))
	}
	return strings.Join(s, ",")
}

// format writes a packet as a flow does, long values cut.
func format(p mqtt.Packet) string {
	var b strings.Builder
	b.WriteString(p.Type().String())
	for _, f := range describe(p) {
		v := f.value
		if len(v) > 60 {
			v = fmt.Sprintf("%s…(%d bytes)", v[:40], len(v))
		}
		if strings.ContainsAny(v, " \"#\t\n") || v != strings.ToValidUTF8(v, "?") {
			v = strconv.Quote(v)
		}
		b.WriteString(" " + f.name + "=" + v)
	}
	return b.String()
}

// compare returns what in p is not as the expectation says, empty when all
// is. Variables are taken only when everything matches.
func compare(word string, want []field, p mqtt.Packet, vars variables) []string {
	if p.Type().String() != word {
		return []string{"packet type"}
	}
	got := describe(p)
	bound := variables{}
	var bad []string
	loose := false
	for _, w := range want {
		if w.name == "..." {
			loose = true
			continue
		}
		i := slices.IndexFunc(got, func(g field) bool { return g.name == w.name })
		value, present := zeroOf(w.name), i >= 0
		if present {
			value = got[i].value
			got = slices.Delete(got, i, i+1)
		}
		if why := matchField(w, value, present, vars, bound); why != "" {
			bad = append(bad, why)
		}
	}
	_, publish := p.(*mqtt.Publish)
	for _, g := range got {
		_, property := mqtt.PropertyByName(g.name)
		switch {
		case loose, g.name == "pid", property && !publish:
		default:
			bad = append(bad, fmt.Sprintf("%s is %q, and the flow does not name it", g.name, g.value))
		}
	}
	if len(bad) == 0 {
		for k, v := range bound {
			vars[k] = v
		}
	}
	return bad
}

// zeroOf is how an expectation writes the value of a field that describe
// leaves out.
func zeroOf(name string) string {
	switch name {
	case "topic", "payload", "id", "username", "password", "codes", "filter":
		return ""
	}
	return "0"
}

func matchField(w field, value string, present bool, vars, bound variables) string {
	want := w.value
	if strings.HasPrefix(want, "$") && !strings.Contains(want, "/") {
		known, ok := vars[want]
		if !ok {
			bound[want] = value
			return ""
		}
		want = known
	}
	_, property := mqtt.PropertyByName(w.name)
	switch {
	case want == "*":
		if property && !present {
			return w.name + " is absent"
		}
		return ""
	case want == "-":
		if present {
			return fmt.Sprintf("%s is there, %q", w.name, value)
		}
		return ""
	case property && !present:
		return fmt.Sprintf("%s is absent, want %q", w.name, want)
	case equal(w.name, want, value):
		return ""
	}
	return fmt.Sprintf("%s is %q, want %q", w.name, value, want)
}

// equal compares by meaning: numbers by value, binary by bytes.
func equal(name, want, got string) bool {
	if want == got {
		return true
	}
	switch name {
	case "topic", "id", "filter", "username":
		return false
	case "payload", "password", "will.payload":
		b, err := binary(want)
		return err == nil && bytes.Equal(b, []byte(got))
	case "correlation-data", "authentication-data":
		a, err1 := binary(want)
		b, err2 := binary(got)
		return err1 == nil && err2 == nil && bytes.Equal(a, b)
	case "codes":
		a, err1 := parseCodes(want)
		b, err2 := parseCodes(got)
		return err1 == nil && err2 == nil && slices.Equal(a, b)
	}
	a, err1 := strconv.ParseUint(want, 0, 64)
	b, err2 := strconv.ParseUint(got, 0, 64)
	return err1 == nil && err2 == nil && a == b
}
