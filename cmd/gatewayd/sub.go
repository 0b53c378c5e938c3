package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/mqtt"
	"gatewayd/topic"
)

type subFlags struct {
	clientFlags
	topics, without, unsubscribe        []string
	count                               int
	wait                                float64
	verbose, noNewline, hex             bool
	skipRetained, onlyRetained, onlySub bool
}

func newSub() *cobra.Command {
	var f subFlags
	cmd := &cobra.Command{
		Use:   "sub -t FILTER...",
		Short: "Subscribe and print messages, with mosquitto_sub's flags",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return f.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.topics, "topic", "t", nil, "topic filter; may be given several times")
	fl.StringArrayVarP(&f.without, "filter-out", "T", nil, "do not print messages whose topic this filter selects")
	fl.StringArrayVarP(&f.unsubscribe, "unsubscribe", "U", nil, "unsubscribe this filter first")
	fl.IntVarP(&f.count, "count", "C", 0, "end after so many messages")
	fl.Float64VarP(&f.wait, "timeout", "W", 0, "end after so many seconds, with exit code 1")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print the topic before the message")
	fl.BoolVarP(&f.noNewline, "no-eol", "N", false, "no line break after a message")
	fl.BoolVar(&f.hex, "hex", false, "print the message in hexadecimal")
	fl.BoolVarP(&f.skipRetained, "no-retained", "R", false, "do not print retained messages")
	fl.BoolVar(&f.onlyRetained, "retained-only", false, "print retained messages and end with the first that is not")
	fl.BoolVarP(&f.onlySub, "subscribe-only", "E", false, "end once subscribed")
	return cmd
}

func (f *subFlags) check() error {
	if len(f.topics) == 0 {
		return usage("no topic filter; add -t")
	}
	for _, t := range slices.Concat(f.topics, f.unsubscribe) {
		if _, _, _, err := topic.ParseShare(t); err != nil {
			return usage("-t %s: %v", t, err)
		}
	}
	for _, t := range f.without {
		if err := topic.ValidFilter(t); err != nil {
			return usage("-T %s: %v", t, err)
		}
	}
	return nil
}

func (f *subFlags) run(ctx context.Context, out, log io.Writer) error {
	var deadline time.Time
	if f.wait > 0 {
		deadline = time.Now().Add(time.Duration(f.wait * float64(time.Second)))
	}
	c, err := dial(ctx, &f.clientFlags, log)
	if err != nil {
		return err
	}
	s := &subscriber{client: c, f: f, out: bufio.NewWriterSize(out, 64<<10), held: map[mqtt.PacketID]*mqtt.Publish{}}
	defer s.out.Flush()
	// Interrupted, the wait for the next packet ends and we say good-bye.
	defer context.AfterFunc(ctx, func() { c.nc.SetReadDeadline(time.Unix(1, 0)) })()
	err = s.subscribe(deadline)
	for err == nil {
		err = s.step(ctx, deadline)
	}
	switch {
	case errors.Is(err, errDone) || ctx.Err() != nil:
		return c.close()
	case errors.Is(err, errTimeout):
		return errors.Join(c.close(), fmt.Errorf("timed out after %g seconds", f.wait))
	}
	c.nc.Close()
	return err
}

var errDone = errors.New("done")

// subscriber prints what comes.
type subscriber struct {
	*client
	f     *subFlags
	out   *bufio.Writer
	count int
	held  map[mqtt.PacketID]*mqtt.Publish // QoS 2 that waits for its PUBREL
	subID mqtt.PacketID
}

func (s *subscriber) subscribe(deadline time.Time) error {
	if len(s.f.unsubscribe) > 0 {
		if err := s.send(&mqtt.Unsubscribe{ID: s.id(), Filters: s.f.unsubscribe}); err != nil {
			return err
		}
	}
	p := &mqtt.Subscribe{ID: s.id()}
	s.subID = p.ID
	for _, t := range s.f.topics {
		r := mqtt.Request{Filter: t, Options: mqtt.Options(0).WithQoS(mqtt.QoS(s.f.qos))}
		if s.f.skipRetained && s.version == mqtt.V5 {
			r.Options = r.Options.WithRetainHandling(2)
		}
		p.Requests = append(p.Requests, r)
	}
	return s.send(p)
}

// step handles one packet.
func (s *subscriber) step(ctx context.Context, deadline time.Time) error {
	if !s.buffered() {
		if err := s.out.Flush(); err != nil {
			return err
		}
	}
	packet, err := s.next(deadline)
	if err != nil {
		if ctx.Err() != nil {
			return errDone
		}
		return err
	}
	switch p := packet.(type) {
	case *mqtt.Suback:
		return s.granted(p)
	case *mqtt.Publish:
		switch p.QoS {
		case 0:
			return s.print(p)
		case 1:
			if err := s.send(&mqtt.Puback{ID: p.ID}); err != nil {
				return err
			}
			return s.print(p)
		}
		s.held[p.ID] = p // what next returned is not overwritten
		return s.send(&mqtt.Pubrec{ID: p.ID})
	case *mqtt.Pubrel:
		if err := s.send(&mqtt.Pubcomp{ID: p.ID}); err != nil {
			return err
		}
		if m := s.held[p.ID]; m != nil {
			delete(s.held, p.ID)
			return s.print(m)
		}
	}
	return nil
}

func (s *subscriber) granted(p *mqtt.Suback) error {
	if p.ID != s.subID {
		return nil
	}
	refused := 0
	for i, code := range p.Codes {
		if code.Failed() && i < len(s.f.topics) {
			refused++
			if refused == len(s.f.topics) {
				return fmt.Errorf("the server refused the subscription to %s: %s%s", strings.Join(s.f.topics, ", "), code, reason(p.Properties))
			}
			s.debug("subscription to %s refused: %s", s.f.topics[i], code)
		}
	}
	if s.f.onlySub {
		return errDone
	}
	return nil
}

func (s *subscriber) print(m *mqtt.Publish) error {
	if s.f.onlyRetained && !m.Retain {
		return errDone
	}
	if s.f.skipRetained && m.Retain {
		return nil
	}
	for _, t := range s.f.without {
		if topic.Match(t, m.Topic) {
			return nil
		}
	}
	if s.f.verbose {
		s.out.WriteString(m.Topic)
		s.out.WriteByte(' ')
	}
	if s.f.hex {
		fmt.Fprintf(s.out, "%x", m.Payload)
	} else {
		s.out.Write(m.Payload)
	}
	if !s.f.noNewline {
		s.out.WriteByte('\n')
	}
	if s.count++; s.f.count > 0 && s.count >= s.f.count {
		return errDone
	}
	return nil
}
