package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// The tools open a store that no gateway has open. They never salvage: what is
// damaged is an error.

func openForTool(dir string) (*Store, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	o := Options{}.withDefaults()
	s := &Store{opts: o, dir: dir, tune: tuneFor(o)}
	if err := s.openOnce(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) closeTool(err error) error {
	if e := s.be.close(); err == nil {
		err = e
	}
	if err == nil {
		s.noteEnd()
	}
	return err
}

// Verify reads the whole store in dir, every table's checksums included, and
// says whether it agrees with itself. What a crash left to be cleaned up is no
// fault.
func Verify(dir string) error {
	s, err := openForTool(dir)
	if err != nil {
		return err
	}
	if b, ok := s.be.(*badgerBackend); ok {
		err = b.verify()
	}
	if err == nil {
		err = s.sweepOrphans(context.Background(), 0)
	}
	if err == nil {
		s.drain() // what a crash left
		err = s.Check()
	}
	if err == nil && s.meter.lost > 0 {
		err = fmt.Errorf("store: %d queued messages have no body", s.meter.lost)
	}
	return s.closeTool(err)
}

// StatsOf reads what the store in dir holds.
func StatsOf(dir string) (Stats, error) {
	s, err := openForTool(dir)
	if err != nil {
		return Stats{}, err
	}
	st := s.Stats()
	return st, s.closeTool(nil)
}

// CompactDir gives back the space that deletions left in dir.
func CompactDir(dir string) error {
	s, err := openForTool(dir)
	if err != nil {
		return err
	}
	s.drain()
	return s.closeTool(s.be.reclaim())
}

// DumpDir writes what is in dir as JSON lines.
func DumpDir(dir string, w io.Writer) error {
	s, err := openForTool(dir)
	if err != nil {
		return err
	}
	return s.closeTool(s.dump(w))
}

// BackupDir writes a backup of the store in dir.
func BackupDir(ctx context.Context, dir string, w io.Writer) error {
	s, err := openForTool(dir)
	if err != nil {
		return err
	}
	return s.closeTool(s.Backup(ctx, w))
}

// dumpLine is one line of a dump; what does not apply is left out.
type dumpLine struct {
	Kind     string `json:"kind"` // session, subscription, will, retained, message, queue, flight, hold, value
	Session  uint64 `json:"session,omitempty"`
	ClientID string `json:"client,omitempty"`
	User     string `json:"user,omitempty"`
	Filter   string `json:"filter,omitempty"`
	Options  uint8  `json:"options,omitempty"`
	ID       uint64 `json:"id,omitempty"` // message, or subscription identifier
	Packet   uint16 `json:"packet_id,omitempty"`
	State    string `json:"state,omitempty"`
	Topic    string `json:"topic,omitempty"`
	QoS      *uint8 `json:"qos,omitempty"`
	Retain   bool   `json:"retain,omitempty"`
	Payload  string `json:"payload,omitempty"`
	Bytes    []byte `json:"payload_base64,omitempty"` // instead, when it is no text
	Key      string `json:"key,omitempty"`
	Time     int64  `json:"time,omitempty"`
	Expires  int64  `json:"expires,omitempty"`
	From     string `json:"publisher,omitempty"`
	Due      int64  `json:"due,omitempty"`
	Delay    uint32 `json:"delay,omitempty"`
}

func (l *dumpLine) content(b []byte) {
	if utf8.Valid(b) {
		l.Payload = string(b)
	} else {
		l.Bytes = b
	}
}

func (l *dumpLine) message(m *Message) {
	qos := m.QoS
	l.Topic, l.QoS, l.Retain, l.Time, l.Expires, l.From = m.Topic, &qos, m.Retain, m.Time, m.Expires, m.Publisher
	l.From, _, _ = strings.Cut(l.From, "\x00") // the broker may add more
	l.content(m.Payload)
}

// dump writes what the store holds as JSON lines: sessions with what they own,
// retained messages, values, and each session's queue with its messages.
func (s *Store) dump(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	var ids []SessionID
	err := s.Load(Loader{
		Session: func(ss Session, mark uint16) error {
			ids = append(ids, ss.ID)
			return enc.Encode(dumpLine{Kind: "session", Session: uint64(ss.ID), ClientID: ss.ClientID, User: ss.User, Time: ss.DisconnectedAt})
		},
		Subscription: func(id SessionID, u Subscription) error {
			return enc.Encode(dumpLine{Kind: "subscription", Session: uint64(id), Filter: u.Filter, Options: u.Options, ID: uint64(u.ID)})
		},
		Will: func(id SessionID, w Will) error {
			l := dumpLine{Kind: "will", Session: uint64(id), Due: w.Due, Delay: w.Delay}
			l.message(&w.Message)
			return enc.Encode(l)
		},
		Hold: func(id SessionID, pid uint16, _ uint64) error {
			return enc.Encode(dumpLine{Kind: "hold", Session: uint64(id), Packet: pid})
		},
		Flight: func(id SessionID, f Flight) error {
			state := "published"
			if f.Released {
				state = "released"
			}
			return enc.Encode(dumpLine{Kind: "flight", Session: uint64(id), Packet: f.PacketID, State: state, ID: uint64(f.ID)})
		},
		Retained: func(m *Message) error {
			l := dumpLine{Kind: "retained"}
			l.message(m)
			return enc.Encode(l)
		},
		Value: func(key string, value []byte) error {
			l := dumpLine{Kind: "value", Key: key}
			l.content(value)
			return enc.Encode(l)
		},
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		after := MessageID(0)
		for {
			page, err := s.peek(id, after, 500, 4<<20)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, q := range page {
				l := dumpLine{Kind: "message", Session: uint64(id), ID: uint64(q.ID), Options: q.Options}
				if err := q.Message.Load(); err != nil {
					return err
				}
				l.message(q.Message)
				l.QoS = &q.QoS
				if err := enc.Encode(l); err != nil {
					return err
				}
				after = q.ID
			}
		}
	}
	return nil
}

// peek reads a page of a queue without handing it out.
func (s *Store) peek(id SessionID, after MessageID, limit, maxBytes int) ([]Queued, error) {
	s.mu.Lock()
	be, ss := s.be, s.sessions[id]
	var items []queueItem
	if ss != nil {
		items = ss.page(after, limit, maxBytes)
	}
	s.mu.Unlock()
	if be == nil {
		return nil, s.unusable()
	}
	return s.readItems(be, nil, items)
}
