package mqtt

// Run is a number of PUBLISH packets that follow one another.
type Run struct {
	Bytes   int // in all
	Packets int
	Payload int // bytes of it in all
	Largest int // packet
}

// PublishRun measures the run at the beginning of b of whole PUBLISH packets at
// QoS 0 to one topic, with neither a flag nor a property and at most most bytes
// of payload each. Such packets look the same on the way in and on the way out.
func PublishRun(v Version, b []byte, topic string, most int) (r Run) {
	head := 2 + len(topic)
	if v == V5 {
		head++
	}
	for {
		p := b[r.Bytes:]
		if len(p) < 2 || p[0] != byte(PUBLISH)<<4 {
			return r
		}
		remaining, n := varint(p[1:])
		end := 1 + n + int(remaining)
		if n <= 0 || n > 1 && p[n] == 0 || end > len(p) || int(remaining) < head || int(remaining)-head > most {
			return r
		}
		body := p[1+n : end]
		if int(body[0])<<8|int(body[1]) != len(topic) || string(body[2:2+len(topic)]) != topic || v == V5 && body[head-1] != 0 {
			return r
		}
		r.Bytes += end
		r.Packets++
		r.Payload += len(body) - head
		r.Largest = max(r.Largest, end)
	}
}
