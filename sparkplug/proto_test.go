package sparkplug

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// payloadType is the payload as the specification's schema has it
// (sparkplug_b.proto, without data sets and templates), for the protobuf
// library's own decoder: what it reads here, any host reads.
var payloadType = func() protoreflect.MessageDescriptor {
	type D = descriptorpb.DescriptorProto
	type F = descriptorpb.FieldDescriptorProto
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, options ...string) *F {
		f := &F{Name: proto.String(name), Number: proto.Int32(number), Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		for _, o := range options {
			switch o {
			case "repeated":
				f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
			case "oneof":
				f.OneofIndex = proto.Int32(0)
			default:
				f.TypeName = proto.String(".sparkplug." + o)
			}
		}
		return f
	}
	const (
		u32, u64, boolean, text = descriptorpb.FieldDescriptorProto_TYPE_UINT32, descriptorpb.FieldDescriptorProto_TYPE_UINT64, descriptorpb.FieldDescriptorProto_TYPE_BOOL, descriptorpb.FieldDescriptorProto_TYPE_STRING
		f32, f64, raw, message  = descriptorpb.FieldDescriptorProto_TYPE_FLOAT, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	)
	value := []*descriptorpb.OneofDescriptorProto{{Name: proto.String("value")}}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("sparkplug_b.proto"), Package: proto.String("sparkplug"), Syntax: proto.String("proto2"),
		MessageType: []*D{
			{Name: proto.String("Payload"), Field: []*F{field("timestamp", 1, u64), field("metrics", 2, message, "repeated", "Metric"),
				field("seq", 3, u64), field("uuid", 4, text), field("body", 5, raw)}},
			{Name: proto.String("Metric"), OneofDecl: value, Field: []*F{
				field("name", 1, text), field("alias", 2, u64), field("timestamp", 3, u64), field("datatype", 4, u32),
				field("is_historical", 5, boolean), field("is_transient", 6, boolean), field("is_null", 7, boolean),
				field("properties", 9, message, "PropertySet"),
				field("int_value", 10, u32, "oneof"), field("long_value", 11, u64, "oneof"), field("float_value", 12, f32, "oneof"),
				field("double_value", 13, f64, "oneof"), field("boolean_value", 14, boolean, "oneof"), field("string_value", 15, text, "oneof"),
				field("bytes_value", 16, raw, "oneof")}},
			{Name: proto.String("PropertySet"), Field: []*F{field("keys", 1, text, "repeated"), field("values", 2, message, "repeated", "PropertyValue")}},
			{Name: proto.String("PropertyValue"), OneofDecl: value, Field: []*F{field("type", 1, u32), field("is_null", 2, boolean),
				field("int_value", 3, u32, "oneof"), field("long_value", 4, u64, "oneof"), field("float_value", 5, f32, "oneof"),
				field("double_value", 6, f64, "oneof"), field("boolean_value", 7, boolean, "oneof"), field("string_value", 8, text, "oneof")}},
		},
	}, nil)
	if err != nil {
		panic(err)
	}
	return file.Messages().ByName("Payload")
}()

// seen is a payload as the library decodes it.
type seen struct {
	timestamp uint64
	seq       int // -1: none
	metrics   []seenMetric
}

type seenMetric struct {
	name       string
	alias      int // -1: none
	timestamp  uint64
	datatype   uint64
	historical bool
	null       bool
	value      any // as the oneof has it; nil: none
	field      string
	properties map[string]any
}

func see(t *testing.T, b []byte) seen {
	t.Helper()
	m := dynamicpb.NewMessage(payloadType)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("not a Sparkplug payload: %v", err)
	}
	if len(m.GetUnknown()) > 0 {
		t.Errorf("unknown fields in the payload: % x", m.GetUnknown())
	}
	s := seen{timestamp: number(m, "timestamp"), seq: -1}
	if has(m, "seq") {
		s.seq = int(number(m, "seq"))
	}
	list := m.Get(fd(m, "metrics")).List()
	for i := range list.Len() {
		x := list.Get(i).Message()
		if len(x.GetUnknown()) > 0 {
			t.Errorf("unknown fields in a metric: % x", x.GetUnknown())
		}
		e := seenMetric{name: x.Get(fd(x, "name")).String(), alias: -1, timestamp: number(x, "timestamp"), datatype: number(x, "datatype"),
			historical: x.Get(fd(x, "is_historical")).Bool(), null: x.Get(fd(x, "is_null")).Bool()}
		if has(x, "alias") {
			e.alias = int(number(x, "alias"))
		}
		if f := x.WhichOneof(x.Descriptor().Oneofs().ByName("value")); f != nil {
			e.value, e.field = x.Get(f).Interface(), string(f.Name())
		}
		if has(x, "properties") {
			set := x.Get(fd(x, "properties")).Message()
			keys, values := set.Get(fd(set, "keys")).List(), set.Get(fd(set, "values")).List()
			if keys.Len() != values.Len() { // [tck-id-payloads-propertyset-keys-array-size]
				t.Errorf("%d keys and %d values of properties", keys.Len(), values.Len())
			}
			e.properties = map[string]any{}
			for k := range keys.Len() {
				v := values.Get(k).Message()
				if f := v.WhichOneof(v.Descriptor().Oneofs().ByName("value")); f != nil && has(v, "type") {
					e.properties[keys.Get(k).String()] = v.Get(f).Interface()
				}
			}
		}
		s.metrics = append(s.metrics, e)
	}
	return s
}

func fd(m protoreflect.Message, name string) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(protoreflect.Name(name))
}
func has(m protoreflect.Message, name string) bool { return m.Has(fd(m, name)) }
func number(m protoreflect.Message, name string) uint64 {
	return m.Get(fd(m, name)).Uint()
}

func (s seen) metric(name string) (seenMetric, bool) {
	for _, m := range s.metrics {
		if m.name == name {
			return m, true
		}
	}
	return seenMetric{}, false
}
