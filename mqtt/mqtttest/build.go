package mqtttest

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"gatewayd/mqtt"
)

// variables are the $names of a flow.
type variables map[string]string

// build makes the packet a send line describes. Variables stand for their
// values; a CONNECT without v= takes the version given.
func build(word string, fields []field, v mqtt.Version, vars variables) (mqtt.Packet, error) {
	b := builder{v: v}
	for _, f := range fields {
		if strings.HasPrefix(f.value, "$") && !strings.Contains(f.value, "/") {
			val, ok := vars[f.value]
			if !ok {
				return nil, fmt.Errorf("%s has no value yet", f.value)
			}
			f.value = val
		}
		b.fields = append(b.fields, f)
	}
	p := b.packet(word)
	if b.err == nil && p == nil {
		b.err = fmt.Errorf("unknown packet %q", word)
	}
	for _, f := range b.fields {
		if b.err == nil {
			b.err = fmt.Errorf("%s has no field %q", word, f.name)
		}
	}
	return p, b.err
}

// builder takes fields one after the other; the first bad one sets err.
type builder struct {
	v      mqtt.Version
	fields []field
	err    error
}

// take removes the first field called name.
func (b *builder) take(name string) (string, bool) {
	for i, f := range b.fields {
		if f.name == name {
			b.fields = append(b.fields[:i:i], b.fields[i+1:]...)
			return f.value, true
		}
	}
	return "", false
}

func (b *builder) text(name string) string {
	s, _ := b.take(name)
	return s
}

func (b *builder) number(name string, bits int) uint64 {
	s, ok := b.take(name)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 0, bits)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", name, err)
	}
	return n
}

func (b *builder) flag(name string) bool    { return b.number(name, 1) != 0 }
func (b *builder) pid() mqtt.PacketID       { return mqtt.PacketID(b.number("pid", 16)) }
func (b *builder) code() mqtt.ReasonCode    { return mqtt.ReasonCode(b.number("code", 8)) }
func (b *builder) qos(name string) mqtt.QoS { return mqtt.QoS(b.number(name, 2)) }
func (b *builder) binary(name string) []byte {
	s, ok := b.take(name)
	if !ok {
		return nil
	}
	data, err := binary(s)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", name, err)
	}
	return data
}

// binary reads a binary value: text, x: and hexadecimal, len: and a length.
func binary(s string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(s, "x:"); ok {
		return hex.DecodeString(digits)
	}
	if n, ok := strings.CutPrefix(s, "len:"); ok {
		size, err := strconv.Atoi(n)
		if err != nil {
			return nil, err
		}
		out := make([]byte, size)
		for i := range out {
			out[i] = "0123456789abcdef"[i%16]
		}
		return out, nil
	}
	return []byte(s), nil
}

func (b *builder) codes() []mqtt.ReasonCode {
	s, ok := b.take("codes")
	if !ok {
		return nil
	}
	codes, err := parseCodes(s)
	if err != nil && b.err == nil {
		b.err = err
	}
	return codes
}

func parseCodes(s string) ([]mqtt.ReasonCode, error) {
	var codes []mqtt.ReasonCode
	for _, c := range strings.Split(s, ",") {
		n, err := strconv.ParseUint(c, 0, 8)
		if err != nil {
			return nil, fmt.Errorf("codes: %w", err)
		}
		codes = append(codes, mqtt.ReasonCode(n))
	}
	return codes, nil
}

// properties takes every field that is a property's name behind prefix.
func (b *builder) properties(prefix string) *mqtt.Properties {
	var p *mqtt.Properties
	var rest []field
	for _, f := range b.fields {
		name, ok := strings.CutPrefix(f.name, prefix)
		id, known := mqtt.PropertyByName(name)
		if !ok || !known {
			rest = append(rest, f)
			continue
		}
		if p == nil {
			p = new(mqtt.Properties)
		}
		if err := p.SetText(id, f.value); err != nil && b.err == nil {
			b.err = err
		}
	}
	b.fields = rest
	return p
}

func (b *builder) packet(word string) mqtt.Packet {
	switch word {
	case "CONNECT":
		return b.connect()
	case "CONNACK":
		return &mqtt.Connack{SessionPresent: b.flag("sp"), Code: b.code(), Properties: b.properties("")}
	case "PUBLISH":
		return &mqtt.Publish{Topic: b.text("topic"), Payload: b.binary("payload"), QoS: b.qos("qos"), Retain: b.flag("retain"),
			Dup: b.flag("dup"), ID: b.pid(), Properties: b.properties("")}
	case "PUBACK":
		return &mqtt.Puback{ID: b.pid(), Code: b.code(), Properties: b.properties("")}
	case "PUBREC":
		return &mqtt.Pubrec{ID: b.pid(), Code: b.code(), Properties: b.properties("")}
	case "PUBREL":
		return &mqtt.Pubrel{ID: b.pid(), Code: b.code(), Properties: b.properties("")}
	case "PUBCOMP":
		return &mqtt.Pubcomp{ID: b.pid(), Code: b.code(), Properties: b.properties("")}
	case "SUBSCRIBE":
		return b.subscribe()
	case "SUBACK":
		return &mqtt.Suback{ID: b.pid(), Codes: b.codes(), Properties: b.properties("")}
	case "UNSUBSCRIBE":
		p := &mqtt.Unsubscribe{ID: b.pid(), Properties: b.properties("")}
		for f, ok := b.take("filter"); ok; f, ok = b.take("filter") {
			p.Filters = append(p.Filters, f)
		}
		return p
	case "UNSUBACK":
		return &mqtt.Unsuback{ID: b.pid(), Codes: b.codes(), Properties: b.properties("")}
	case "PINGREQ":
		return &mqtt.Pingreq{}
	case "PINGRESP":
		return &mqtt.Pingresp{}
	case "DISCONNECT":
		return &mqtt.Disconnect{Code: b.code(), Properties: b.properties("")}
	case "AUTH":
		return &mqtt.Auth{Code: b.code(), Properties: b.properties("")}
	}
	return nil
}

func (b *builder) connect() *mqtt.Connect {
	p := &mqtt.Connect{Version: b.v, CleanStart: true}
	if n := b.number("v", 8); n != 0 {
		p.Version = mqtt.Version(n)
	}
	if s, ok := b.take("clean"); ok {
		p.CleanStart = s != "0"
	}
	p.ClientID, p.KeepAlive, p.Bridge = b.text("id"), uint16(b.number("keepalive", 16)), b.flag("bridge")
	if s, ok := b.take("username"); ok {
		p.HasUsername, p.Username = true, s
	}
	if s, ok := b.take("password"); ok {
		p.HasPassword, p.Password = true, []byte(s)
	}
	if topic, ok := b.take("will.topic"); ok {
		p.Will = &mqtt.Will{Topic: topic, Payload: b.binary("will.payload"), QoS: b.qos("will.qos"),
			Retain: b.flag("will.retain"), Properties: b.properties("will.")}
	}
	p.Properties = b.properties("")
	return p
}

func (b *builder) subscribe() *mqtt.Subscribe {
	p := &mqtt.Subscribe{ID: b.pid(), Properties: b.properties("")}
	fields := b.fields
	b.fields = nil
	for _, f := range fields {
		if f.name == "filter" {
			p.Requests = append(p.Requests, mqtt.Request{Filter: f.value})
			continue
		}
		n, err := strconv.ParseUint(f.value, 0, 2)
		shift, known := map[string]int{"qos": 0, "nl": 2, "rap": 3, "rh": 4}[f.name]
		if err != nil || !known || len(p.Requests) == 0 {
			b.fields = append(b.fields, f) // reported by build
			continue
		}
		p.Requests[len(p.Requests)-1].Options |= mqtt.Options(n << shift)
	}
	return p
}
