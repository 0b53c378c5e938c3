package sensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// What a Ring keeps over a restart: each level in blocks of blockPoints, under
// keys that are used again when the ring comes round, so that the number of
// keys is bounded and a flush writes one block of a level, not all of it.
//
//	<probe>/<quantity>/<r|m|h>/<block>   version, unit, first point's number, points

const (
	blockPoints  = 60
	blockVersion = 1
	pointBytes   = 8 + 8 + 4 + 4 + 8 + 4 + 1 + 1
)

// Flush hands what is new to the Keeper. It is called about every minute and
// at the end; a power cut costs the readings since.
func (r *Ring) Flush() error {
	if r.o.Keeper == nil {
		return nil
	}
	type block struct {
		key   string
		value []byte
	}
	var todo []block
	r.mu.Lock()
	for k, s := range r.series {
		for name, l := range map[string]*level{"r": &s.raw, "m": &s.minute, "h": &s.hour} {
			if l.kept == l.count {
				continue
			}
			oldest := l.count - uint64(len(l.points))
			blocks := uint64(l.max/blockPoints + 2)
			for b := max(l.kept, oldest) / blockPoints; b*blockPoints < l.count; b++ {
				from, to := max(b*blockPoints, oldest), min((b+1)*blockPoints, l.count)
				todo = append(todo, block{fmt.Sprintf("%s/%s/%s/%d", k.probe, k.quantity, name, b%blocks), l.encode(s.unit, from, to)})
			}
			l.kept = l.count
		}
	}
	r.mu.Unlock()
	var errs []error
	for _, b := range todo {
		errs = append(errs, r.o.Keeper.Keep(b.key, b.value))
	}
	return errors.Join(errs...)
}

// encode packs the points with the numbers from to to.
func (l *level) encode(unit string, from, to uint64) []byte {
	b := make([]byte, 0, 12+len(unit)+int(to-from)*pointBytes)
	b = append(b, blockVersion, byte(len(unit)))
	b = append(b, unit...)
	b = binary.BigEndian.AppendUint64(b, from)
	oldest := l.count - uint64(len(l.points))
	for n := from; n < to; n++ {
		p := &l.points[(l.first+int(n-oldest))%len(l.points)]
		b = binary.BigEndian.AppendUint64(b, uint64(p.at))
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.value))
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(p.low))
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(p.high))
		b = binary.BigEndian.AppendUint64(b, p.seq)
		b = binary.BigEndian.AppendUint32(b, p.n)
		b = append(b, byte(p.quality), byte(p.source))
	}
	return b
}

// load reads all blocks and puts their points in order again. A block that
// cannot be read is left out.
func (r *Ring) load() error {
	type run struct {
		from   uint64
		points []point
	}
	found := map[seriesKey]map[string][]run{}
	units := map[seriesKey]string{}
	err := r.o.Keeper.Load("", func(key string, value []byte) error {
		part := strings.Split(key, "/")
		if len(part) != 4 {
			return nil
		}
		unit, from, points, ok := decodeBlock(value)
		if !ok {
			return nil
		}
		k := seriesKey{part[0], part[1]}
		if found[k] == nil {
			found[k] = map[string][]run{}
		}
		found[k][part[2]] = append(found[k][part[2]], run{from, points})
		units[k] = unit
		return nil
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, levels := range found {
		s := r.seriesLocked(k)
		if s == nil {
			continue
		}
		s.unit = units[k]
		for name, l := range map[string]*level{"r": &s.raw, "m": &s.minute, "h": &s.hour} {
			byNumber := map[uint64]point{}
			end := uint64(0)
			for _, run := range levels[name] {
				for i, p := range run.points {
					byNumber[run.from+uint64(i)] = p
					end = max(end, run.from+uint64(i)+1)
				}
			}
			// Backwards from the newest as far as nothing is missing.
			from := end
			for from > 0 && end-from < uint64(l.max) {
				if _, ok := byNumber[from-1]; !ok {
					break
				}
				from--
			}
			for n := from; n < end; n++ {
				l.push(byNumber[n])
			}
			l.count, l.kept = end, end
		}
	}
	return nil
}

func decodeBlock(b []byte) (unit string, from uint64, points []point, ok bool) {
	if len(b) < 2 || b[0] != blockVersion || len(b) < 10+int(b[1]) {
		return "", 0, nil, false
	}
	unit = string(b[2 : 2+int(b[1])])
	b = b[2+int(b[1]):]
	from = binary.BigEndian.Uint64(b)
	b = b[8:]
	if len(b)%pointBytes != 0 || len(b) > blockPoints*pointBytes {
		return "", 0, nil, false
	}
	for ; len(b) > 0; b = b[pointBytes:] {
		points = append(points, point{at: int64(binary.BigEndian.Uint64(b)), value: math.Float64frombits(binary.BigEndian.Uint64(b[8:])),
			low: math.Float32frombits(binary.BigEndian.Uint32(b[16:])), high: math.Float32frombits(binary.BigEndian.Uint32(b[20:])),
			seq: binary.BigEndian.Uint64(b[24:]), n: binary.BigEndian.Uint32(b[32:]), quality: Quality(b[36]), source: TimeSource(b[37])})
	}
	return unit, from, points, true
}
