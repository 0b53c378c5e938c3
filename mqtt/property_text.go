package mqtt

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// PropertyByName returns the property with the specification's name in lower
// case with hyphens, such as content-type.
func PropertyByName(name string) (PropertyID, bool) {
	for id := range propertyTable {
		if propertyTable[id].kind != kindNone && propertyTable[id].name == name {
			return PropertyID(id), true
		}
	}
	return 0, false
}

// SetText sets a property from text: numbers in decimal or 0x form, binary
// data as it is or as x: and hexadecimal, a user property as name:value. User
// properties and subscription identifiers are added to those already there.
func (p *Properties) SetText(id PropertyID, text string) error {
	if id > maxProperty || propertyTable[id].kind == kindNone {
		return fmt.Errorf("unknown property 0x%02x", byte(id))
	}
	bits := map[propertyKind]int{kindFlag: 8, kindUint16: 16, kindUint32: 32, kindVarint: 28}[propertyTable[id].kind]
	var n uint64
	if bits > 0 {
		var err error
		if n, err = strconv.ParseUint(text, 0, bits); err != nil {
			return fmt.Errorf("%v: %w", id, err)
		}
	}
	switch propertyTable[id].kind {
	case kindFlag:
		*p.flag(id) = byte(n)
	case kindUint16:
		*p.u16(id) = uint16(n)
	case kindUint32:
		*p.u32(id) = uint32(n)
	case kindVarint:
		p.SubscriptionIDs = append(p.SubscriptionIDs, uint32(n))
	case kindString:
		*p.str(id) = text
	case kindBinary:
		b := []byte(text)
		if digits, ok := strings.CutPrefix(text, "x:"); ok {
			var err error
			if b, err = hex.DecodeString(digits); err != nil {
				return fmt.Errorf("%v: %w", id, err)
			}
		}
		if id == PropCorrelationData {
			p.Correlation = b
		} else {
			p.AuthData = b
		}
	case kindPair:
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return fmt.Errorf("%v: want name:value", id)
		}
		p.User = append(p.User, UserProperty{name, value})
	}
	p.Present |= 1 << id
	return nil
}

// Text returns the values of a property in the form SetText reads, none when
// it is absent.
func (p *Properties) Text(id PropertyID) []string {
	if !p.Has(id) {
		return nil
	}
	var out []string
	switch propertyTable[id].kind {
	case kindString:
		out = append(out, *p.str(id))
	case kindBinary:
		b := p.Correlation
		if id == PropAuthData {
			b = p.AuthData
		}
		out = append(out, "x:"+hex.EncodeToString(b))
	case kindPair:
		for _, u := range p.User {
			out = append(out, u.Name+":"+u.Value)
		}
	case kindVarint:
		for _, v := range p.SubscriptionIDs {
			out = append(out, strconv.FormatUint(uint64(v), 10))
		}
	default:
		out = append(out, strconv.FormatUint(uint64(p.number(id)), 10))
	}
	return out
}

// All returns every property there is, in the order of their numbers.
func (p *Properties) All(yield func(PropertyID) bool) {
	for id := PropPayloadFormat; id <= maxProperty; id++ {
		if propertyTable[id].kind != kindNone && p.Has(id) && !yield(id) {
			return
		}
	}
}
