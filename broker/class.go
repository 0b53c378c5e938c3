package broker

import (
	"gatewayd/store"
	"gatewayd/topic"
)

// Durability says how durable the messages are whose topics match a filter, and
// with it what their acknowledgement means: of class Commit that they are on the
// disk, or that nobody needs them any more; of class Lazy that they will be
// within the store's LazyInterval, so that a power cut may take what was
// acknowledged since; of class Memory that they wait in memory and are gone with
// the process.
type Durability struct {
	Filter string
	Class  store.Class
}

// topicClass is the class of a topic's messages, as the options have it.
type topicClass struct {
	store.Class
	given bool // a filter names the topic
}

// classOf returns the class of a topic: that of the first filter it matches.
func (o *Options) classOf(name string) topicClass {
	for i := range o.Durability {
		if topic.Match(o.Durability[i].Filter, name) {
			return topicClass{o.Durability[i].Class, true}
		}
	}
	return topicClass{}
}

// class is the class of the message that op carries, as its route has it; what is
// delivered anew to another member of a group has no route.
func (op *pubOp) class(topic string) topicClass {
	if op.route == nil {
		return op.b.opt().classOf(topic)
	}
	return op.route.class
}

// retainedClass is the class of a retained message. Without a filter of its own
// QoS 0 is lazy, and so is what the process itself repeats.
func (o *Options) retainedClass(own topicClass, qos0, repeated bool) store.Class {
	switch {
	case own.given:
		return own.Class
	case o.RetainMemory:
		return store.Memory
	case qos0 || repeated || o.RetainLazy:
		return store.Lazy
	}
	return store.Commit
}
