package bridge

import (
	"iter"

	"gatewayd/mqtt"
)

// packetOverhead is what a SUBSCRIBE or UNSUBSCRIBE has beside its topics: at
// most five bytes of header, the packet id, and the length of no properties.
const packetOverhead = 5 + 2 + 1

func subscribeBytes(q mqtt.Request) int { return len(q.Filter) + 3 }
func filterBytes(f string) int          { return len(f) + 2 }

// fitting splits what is asked for at the centre into packets as large as it
// takes: so many topics, so many bytes; 0: no bound. A topic that is alone too
// long for a packet is asked for all the same: the centre says why not.
func fitting[T any](list []T, bytes func(T) int, most, maxPacket int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		from, size := 0, packetOverhead
		for i, x := range list {
			n := bytes(x)
			if i > from && (most > 0 && i-from >= most || maxPacket > 0 && size+n > maxPacket) {
				if !yield(list[from:i:i]) {
					return
				}
				from, size = i, packetOverhead
			}
			size += n
		}
		if from < len(list) {
			yield(list[from:])
		}
	}
}

// filtersAtOnce is how many topics a SUBSCRIBE may name.
func filtersAtOnce(d demands) int {
	if d.filtersAtOnce > 0 {
		return d.filtersAtOnce
	}
	return 64
}
