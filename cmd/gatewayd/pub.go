package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/mqtt"
	"gatewayd/topic"
)

type pubFlags struct {
	clientFlags
	topic, message, file       string
	lines, stdin, null, retain bool
	repeat                     int
	repeatDelay                time.Duration
}

func newPub() *cobra.Command {
	var f pubFlags
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC {-m MESSAGE | -f FILE | -s | -l | -n}",
		Short: "Publish messages, with mosquitto_pub's flags",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return f.run(ctx, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.topic, "topic", "t", "", "topic")
	fl.StringVarP(&f.message, "message", "m", "", "the message")
	fl.StringVarP(&f.file, "file", "f", "", "send the content of a file")
	fl.BoolVarP(&f.lines, "stdin-line", "l", false, "send each line of standard input as a message")
	fl.BoolVarP(&f.stdin, "stdin-file", "s", false, "send standard input as one message")
	fl.BoolVarP(&f.null, "null-message", "n", false, "send an empty message")
	fl.BoolVarP(&f.retain, "retain", "r", false, "retain the message")
	fl.IntVar(&f.repeat, "repeat", 1, "send the message so many times")
	fl.DurationVar(&f.repeatDelay, "repeat-delay", 0, "pause between repetitions")
	return cmd
}

func (f *pubFlags) check(cmd *cobra.Command) error {
	if f.topic == "" {
		return usage("no topic; add -t")
	}
	if err := topic.ValidName(f.topic); err != nil {
		return usage("-t %s: %v", f.topic, err)
	}
	kinds := 0
	for _, given := range []bool{cmd.Flags().Changed("message"), f.file != "", f.lines, f.stdin, f.null} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return usage("give exactly one of -m, -f, -s, -l and -n")
	}
	return nil
}

func (f *pubFlags) run(ctx context.Context, in io.Reader, log io.Writer) error {
	var payload []byte
	var err error
	switch {
	case f.file != "":
		payload, err = os.ReadFile(f.file)
	case f.stdin:
		payload, err = io.ReadAll(in)
	default:
		payload = []byte(f.message)
	}
	if err != nil {
		return err
	}
	c, err := dial(ctx, &f.clientFlags, log)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.nc.Close() })()
	p := &publisher{client: c, qos: mqtt.QoS(f.qos), retain: f.retain, open: map[mqtt.PacketID]bool{}}
	if f.lines {
		err = p.lines(f.topic, in)
	} else {
		for i := range f.repeat {
			if i > 0 && f.repeatDelay > 0 {
				select {
				case <-time.After(f.repeatDelay):
				case <-ctx.Done():
				}
			}
			if err = p.publish(f.topic, payload); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = p.settle(0)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted before everything was acknowledged")
	}
	if err != nil {
		c.nc.Close()
		return err
	}
	return errors.Join(p.refused, c.close())
}

// publisher sends messages with a window of unacknowledged ones.
type publisher struct {
	*client
	qos     mqtt.QoS
	retain  bool
	open    map[mqtt.PacketID]bool // sent and not finished
	refused error                  // the first message that the server did not take
}

// lines sends each line. A reader of its own keeps the connection alive while
// standard input is silent.
func (p *publisher) lines(topic string, in io.Reader) error {
	type line struct {
		text []byte
		err  error
	}
	input := make(chan line)
	done := make(chan struct{})
	defer close(done)
	go func() {
		r := bufio.NewReader(in)
		for {
			text, err := r.ReadBytes('\n')
			if len(text) > 0 && text[len(text)-1] == '\n' {
				text = text[:len(text)-1]
			} else if len(text) == 0 && err != nil {
				text = nil
			}
			select {
			case input <- line{text, err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case l := <-input:
			if l.text != nil {
				if err := p.publish(topic, l.text); err != nil {
					return err
				}
			}
			if errors.Is(l.err, io.EOF) {
				return nil
			}
			if l.err != nil {
				return fmt.Errorf("read standard input: %w", l.err)
			}
		case <-time.After(time.Second):
			if err := p.idle(); err != nil {
				return err
			}
		}
	}
}

// idle takes what the server has sent and keeps the connection alive.
func (p *publisher) idle() error {
	packet, err := p.next(time.Now().Add(time.Millisecond))
	if errors.Is(err, errTimeout) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.handle(packet)
}

func (p *publisher) publish(topic string, payload []byte) error {
	m := &mqtt.Publish{Topic: topic, Payload: payload, QoS: p.qos, Retain: p.retain}
	if p.qos > 0 {
		if err := p.settle(p.receiveMax - 1); err != nil {
			return err
		}
		for m.ID = p.id(); p.open[m.ID]; m.ID = p.id() {
		}
		p.open[m.ID] = true
	}
	return p.send(m)
}

// settle waits until at most n messages are unacknowledged.
func (p *publisher) settle(n int) error {
	for len(p.open) > n {
		packet, err := p.next(time.Time{})
		if err != nil {
			return err
		}
		if err := p.handle(packet); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) handle(packet mqtt.Packet) error {
	switch a := packet.(type) {
	case *mqtt.Puback:
		delete(p.open, a.ID)
		p.refuse(a.Code, a.Properties)
	case *mqtt.Pubrec:
		if a.Code.Failed() {
			delete(p.open, a.ID)
			p.refuse(a.Code, a.Properties)
			return nil
		}
		return p.send(&mqtt.Pubrel{ID: a.ID})
	case *mqtt.Pubcomp:
		delete(p.open, a.ID)
	}
	return nil
}

func (p *publisher) refuse(code mqtt.ReasonCode, props *mqtt.Properties) {
	if code.Failed() && p.refused == nil {
		p.refused = fmt.Errorf("the server refused the message: %s%s", code, reason(props))
	}
}
