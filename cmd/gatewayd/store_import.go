package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gatewayd/mqtt"
	"gatewayd/store"
	"gatewayd/topic"
)

func newStoreImport() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over a mosquitto.db: retained messages, sessions and their queues",
		Long: `import reads a mosquitto.db (Mosquitto 1.0 to 2.1) and puts what it holds into the
store of a gateway that is not running. Sessions and retained messages that the
store has already stay as they are. FILE is only read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, c, err := storeDir(&flags)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			db, err := readMosquittoDB(f)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if _, err := dataFolder(c); err != nil {
				return err
			}
			done, err := importInto(cmd.Context(), dir, storeOptions(c, slog.New(slog.DiscardHandler)), db, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

// importInto takes db over into the store in dir, wholly or not at all: it works on
// a copy, which takes the store's place when it is whole.
func importInto(ctx context.Context, dir string, o store.Options, db *mosquittoDB, now time.Time) (done imported, err error) {
	at := dir + ".import"
	if err := os.RemoveAll(at); err != nil { // of an import that was killed
		return done, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(at))
		}
	}()
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return done, err
	}
	if len(names) > 0 {
		s, err := store.Open(dir, o) // nobody else has it
		if err == nil {
			err = s.Close()
		}
		if err == nil {
			err = copyFolder(at, dir)
		}
		if err != nil {
			return done, storeFault(dir, err)
		}
	}
	s, err := store.Open(at, o)
	if err != nil {
		return done, storeFault(dir, err)
	}
	done, err = importDB(ctx, s, db, now)
	if err = errors.Join(err, s.Close()); err != nil {
		return done, err
	}
	return done, takePlace(at, dir)
}

// takePlace puts the folder at into the place of dir, which goes.
func takePlace(at, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, at, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		err = os.RemoveAll(at)
	case errors.Is(err, os.ErrNotExist): // there was none
		err = os.Rename(at, dir)
	default: // a file system that cannot exchange
		old := dir + ".before-import"
		if err = os.Rename(dir, old); err == nil {
			if err = os.Rename(at, dir); err == nil {
				err = os.RemoveAll(old)
			}
		}
	}
	return errors.Join(err, syncFolder(filepath.Dir(dir)))
}

// copyFolder copies a folder of files and folders.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		info, err := e.Info()
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.Mkdir(name, info.Mode().Perm())
		case !info.Mode().IsRegular():
			return nil
		}
		src, err := os.Open(path)
		if err != nil {
			return err
		}
		defer src.Close()
		dst, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(dst, src)
		return errors.Join(err, dst.Sync(), dst.Close())
	})
}

// syncFolder makes a renaming durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// imported counts what was taken over and what was not.
type imported struct {
	retained, sessions, subscriptions, messages, released int
	known, expired, invalid                               int
}

func (i imported) String() string {
	text := fmt.Sprintf("taken over: %d retained messages, %d sessions with %d subscriptions and %d queued messages",
		i.retained, i.sessions, i.subscriptions, i.messages)
	if i.released > 0 {
		text += fmt.Sprintf(", %d exchanges of QoS 2 to be completed", i.released)
	}
	if i.known+i.expired+i.invalid > 0 {
		text += fmt.Sprintf("; left out: %d that the store has already, %d expired, %d not valid", i.known, i.expired, i.invalid)
	}
	return text
}

// importer puts a mosquitto.db into a store.
type importer struct {
	s        *store.Store
	db       *mosquittoDB
	now      time.Time
	clock    int64 // the broker's clock at now, ms
	sessions map[string]store.SessionID
	have     map[string]bool // client ids
	retained map[string]bool // topics
	done     imported
}

// importDB runs the store for as long as it takes.
func importDB(ctx context.Context, s *store.Store, db *mosquittoDB, now time.Time) (imported, error) {
	im := &importer{s: s, db: db, now: now, clock: 1, sessions: map[string]store.SessionID{}, have: map[string]bool{}, retained: map[string]bool{}}
	err := s.Load(store.Loader{
		Session:  func(ss store.Session, _ uint16) error { im.have[ss.ClientID] = true; return nil },
		Retained: func(m *store.Message) error { im.retained[m.Topic] = true; return nil },
		Value: func(key string, value []byte) error {
			if key == "x/clock" && len(value) == 16 {
				im.clock = int64(binary.BigEndian.Uint64(value))
			}
			return nil
		},
	})
	if err != nil {
		return im.done, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	for _, step := range []func(context.Context) error{im.addSessions, im.addSubscriptions, im.addRetained, im.addMessages, im.addReleased} {
		if err = step(ctx); err != nil {
			break
		}
	}
	if err == nil {
		err = s.Flush(ctx)
	}
	stop()
	if runErr := <-ended; err == nil && runErr != nil && !errors.Is(runErr, context.Canceled) {
		err = runErr
	}
	return im.done, err
}

// submit makes a batch durable.
func (im *importer) submit(ctx context.Context, b *store.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	done := make(chan error, 1)
	if err := im.s.Submit(ctx, b, func(r store.Receipt) { done <- r.Err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		b.Reset()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (im *importer) addSessions(ctx context.Context) error {
	var b store.Batch
	for _, c := range im.db.clients {
		switch {
		case im.have[c.id]:
			im.done.known++
			continue
		case c.expires != 0 && c.expires <= im.now.Unix():
			im.done.expired++
			continue
		case c.expiry == 0: // ends with its connection, which has ended
			continue
		}
		id := im.s.NewSessionID()
		expiry := c.expiry
		if c.expires != 0 && expiry != 1<<32-1 { // it has been away for a while already
			expiry = uint32(max(min(int64(expiry), c.expires-im.now.Unix()), 1))
		}
		b.PutSession(store.Session{ID: id, ClientID: c.id, User: c.user, Version: byte(mqtt.V311), ExpiryInterval: expiry})
		im.sessions[c.id] = id
		im.have[c.id] = true
		im.done.sessions++
		// Unlimited: what Mosquitto has accepted is not refused now.
		im.s.SetLimits(id, store.Limits{})
	}
	return im.submit(ctx, &b)
}

func (im *importer) addSubscriptions(ctx context.Context) error {
	var b store.Batch
	for _, s := range im.db.subs {
		id, ok := im.sessions[s.client]
		if !ok {
			continue
		}
		if _, _, _, err := topic.ParseShare(s.filter); err != nil {
			im.done.invalid++
			continue
		}
		options := mqtt.Options(s.options).WithQoS(mqtt.QoS(s.qos))
		b.PutSubscription(id, store.Subscription{Filter: s.filter, Options: uint8(options), ID: s.id})
		im.done.subscriptions++
	}
	return im.submit(ctx, &b)
}

// message turns a message into the store's; nil when it has expired or is not
// valid.
func (im *importer) message(m *dbMessage) *store.Message {
	if m == nil || topic.ValidName(m.publish.Topic) != nil {
		im.done.invalid++
		return nil
	}
	if m.expires != 0 && m.expires <= im.now.Unix() {
		im.done.expired++
		return nil
	}
	travels := m.publish.NewMessage("")
	out := &store.Message{Topic: travels.Topic, Payload: travels.Payload, QoS: byte(travels.QoS), Retain: travels.Retain, Time: im.clock, Publisher: m.source}
	if travels.Properties != nil {
		out.Properties = travels.AppendProperties(nil)
	}
	if m.expires != 0 {
		out.Expires = im.clock + (m.expires-im.now.Unix())*1000
	}
	return out
}

const importBatch = 500 // messages submitted at once

func (im *importer) addRetained(ctx context.Context) error {
	var b store.Batch
	for _, id := range im.db.retained {
		m := im.message(im.db.messages[id])
		if m == nil {
			continue
		}
		if im.retained[m.Topic] {
			im.done.known++
			continue
		}
		m.Retain = true
		if user := im.db.messages[id].user; user != "" {
			m.Publisher += "\x00" + user + "\x00" // as the broker keeps whose it is
		}
		b.PutRetained(m)
		if im.done.retained++; im.done.retained%importBatch == 0 {
			if err := im.submit(ctx, &b); err != nil {
				return err
			}
		}
	}
	return im.submit(ctx, &b)
}

// addMessages queues every message once, for all who need it, in the order
// Mosquitto got them.
func (im *importer) addMessages(ctx context.Context) error {
	to := map[uint64][]store.Recipient{}
	inward := map[uint64]bool{}
	for _, c := range im.db.clients {
		session, ok := im.sessions[c.id]
		if !ok {
			continue
		}
		for _, d := range c.queue {
			if r, ok := recipient(session, d); ok {
				to[d.message] = append(to[d.message], r)
			}
			if d.inward { // received, acknowledged, and not yet passed on
				inward[d.message] = true
				to[d.message] = append(to[d.message], im.subscribers(im.db.messages[d.message])...)
			}
		}
	}
	var b store.Batch
	n := 0
	for _, id := range slices.SortedFunc(maps.Keys(to), cmp.Compare[uint64]) {
		m := im.message(im.db.messages[id])
		if m == nil {
			continue
		}
		if m.Retain && inward[id] && !im.retained[m.Topic] {
			kept := *m
			b.PutRetained(&kept)
			im.done.retained++
		}
		m.Retain = false // whether it goes out as retained is the recipient's
		m.QoS = 0        // as high as anybody needs it
		for _, r := range to[id] {
			m.QoS = max(m.QoS, r.QoS)
		}
		b.AddMessage(m, to[id])
		im.done.messages += len(to[id])
		if n++; n%importBatch == 0 {
			if err := im.submit(ctx, &b); err != nil {
				return err
			}
		}
	}
	return im.submit(ctx, &b)
}

// recipient is a client's need of a message; false for what is over or inward.
func recipient(session store.SessionID, d dbDelivery) (store.Recipient, bool) {
	if d.inward || d.state == dbResendPubrel || d.state == dbWaitPubcomp {
		return store.Recipient{}, false
	}
	r := store.Recipient{Session: session, QoS: d.qos}
	if d.retain {
		r.Options = 1 // goes out with RETAIN set
	}
	if d.subID != 0 {
		r.SubscriptionIDs = []uint32{d.subID}
	}
	if d.state == dbPublishQoS2 || d.state == dbWaitPubrec {
		r.PacketID = d.mid // the client may have it under this id
	}
	return r, true
}

// subscribers are the sessions taken over that want a message, with what their
// subscriptions ask for.
func (im *importer) subscribers(m *dbMessage) []store.Recipient {
	if m == nil {
		return nil
	}
	const noLocal, asPublished = 4, 8
	wants := map[store.SessionID]*store.Recipient{}
	for _, s := range im.db.subs {
		session, ok := im.sessions[s.client]
		if !ok || topic.ValidFilter(s.filter) != nil || !topic.Match(s.filter, m.publish.Topic) || s.options&noLocal != 0 && s.client == m.source {
			continue
		}
		r := wants[session]
		if r == nil {
			r = &store.Recipient{Session: session}
			wants[session] = r
		}
		r.QoS = max(r.QoS, min(s.qos, byte(m.publish.QoS)))
		if s.options&asPublished != 0 && m.publish.Retain {
			r.Options = 1
		}
		if s.id != 0 {
			r.SubscriptionIDs = append(r.SubscriptionIDs, s.id)
		}
	}
	var out []store.Recipient
	for _, r := range wants {
		if r.QoS > 0 {
			out = append(out, *r)
		}
	}
	return out
}

// addReleased keeps the exchanges of QoS 2 that only lack the PUBCOMP.
func (im *importer) addReleased(ctx context.Context) error {
	var b store.Batch
	for _, c := range im.db.clients {
		session, ok := im.sessions[c.id]
		if !ok {
			continue
		}
		for _, d := range c.queue {
			if !d.inward && (d.state == dbResendPubrel || d.state == dbWaitPubcomp) {
				b.Bind(session, d.mid, 0)
				b.Released(session, d.mid)
				im.done.released++
			}
		}
	}
	return im.submit(ctx, &b)
}
