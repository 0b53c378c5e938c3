package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gatewayd/mqtt"
	"gatewayd/topic"
)

// benchFlags say what load is made.
type benchFlags struct {
	clientFlags
	publishers, subscribers, pairs int
	size, window                   int
	rate                           float64
	duration                       time.Duration
	prefix                         string
	json                           bool
}

// benchStamp is what every payload begins with: the time of sending and the
// number within its publisher's messages, eight bytes each.
const benchStamp = 16

func newBench() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put load on a broker and say what it took",
		Long: `bench connects publishers and subscribers to a broker, sends numbered messages
for a while and says how many arrived, how fast and how late. Every subscriber
receives the messages of all publishers; with --pairs each publisher has a
subscriber of its own. The messages go under a topic that no other run uses and
are not retained.

Without --rate the publishers send as fast as the broker takes the messages. At
QoS 0 nothing slows them but the connection, and a broker may drop what its
subscribers do not read in time: that is the figure "missing". At QoS 1 and 2 a
missing message is a fault, and the command ends with 1.

The load takes processor time too. Run it on another machine than the broker to
see what the broker can do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return f.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.addConnection(cmd)
	fl := cmd.Flags()
	fl.IntVar(&f.publishers, "publishers", 10, "clients that publish")
	fl.IntVar(&f.subscribers, "subscribers", 1, "clients that subscribe to all of them")
	fl.IntVar(&f.pairs, "pairs", 0, "so many publishers, each with a subscriber of its own, instead")
	fl.IntVar(&f.size, "size", 64, "bytes of a payload, at least 16")
	fl.IntVar(&f.window, "window", 20, "messages of a publisher without an acknowledgement at QoS 1 and 2")
	fl.Float64Var(&f.rate, "rate", 0, "messages a second of all publishers together; 0: as many as go")
	fl.DurationVar(&f.duration, "duration", 10*time.Second, "how long to publish")
	fl.StringVar(&f.prefix, "topic-prefix", "gatewayd-bench", "topic under which the messages go")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (f *benchFlags) check() error {
	if f.pairs > 0 {
		f.publishers, f.subscribers = f.pairs, f.pairs
	}
	switch {
	case f.publishers < 1 || f.subscribers < 0 || f.pairs < 0:
		return usage("there has to be a publisher; give --publishers or --pairs a number from 1 on")
	case f.size < benchStamp || f.size > maxPacket/2:
		return usage("--size %d is out of range; write %d to %d bytes", f.size, benchStamp, maxPacket/2)
	case f.window < 1 || f.window > 65535:
		return usage("--window %d is out of range; write 1 to 65535", f.window)
	case f.rate < 0:
		return usage("--rate %g is negative; 0 means as many as go", f.rate)
	case f.duration <= 0:
		return usage("--duration %s is no time to measure", f.duration)
	}
	if err := topic.ValidName(f.prefix); err != nil {
		return usage("--topic-prefix %s: %v", f.prefix, err)
	}
	return nil
}

// benchTimes are quantiles in milliseconds.
type benchTimes struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// benchResult is what a run found.
type benchResult struct {
	Publishers   int         `json:"publishers"`
	Subscribers  int         `json:"subscribers"`
	QoS          int         `json:"qos"`
	Size         int         `json:"payload_bytes"`
	Seconds      float64     `json:"seconds"`
	Sent         int64       `json:"sent"`
	Refused      int64       `json:"refused"` // acknowledged with a reason code of failure
	Acknowledged int64       `json:"acknowledged"`
	Expected     int64       `json:"expected"` // deliveries that the sent messages make
	Received     int64       `json:"received"`
	Missing      int64       `json:"missing"`
	Repeated     int64       `json:"repeated"`
	SentRate     float64     `json:"sent_per_second"`
	ReceivedRate float64     `json:"received_per_second"`
	Delivery     *benchTimes `json:"delivery,omitempty"`        // from sending to arrival
	Acks         *benchTimes `json:"acknowledgement,omitempty"` // from sending to the last acknowledgement
}

func (f *benchFlags) run(ctx context.Context, out, log io.Writer) error {
	r := &benchRun{f: f, begun: time.Now(), prefix: f.prefix + "/" + strconv.FormatInt(time.Now().UnixNano(), 36)}
	defer r.close()
	if err := r.connect(ctx, log); err != nil {
		return err
	}
	res, err := r.measure(ctx)
	if f.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = errors.Join(err, e.Encode(res))
	} else {
		res.print(out)
	}
	switch {
	case err != nil:
		return err
	case f.qos > 0 && res.Missing > 0:
		return fmt.Errorf("%d acknowledged messages did not arrive", res.Missing)
	case f.qos == 2 && res.Repeated > 0:
		return fmt.Errorf("%d messages of QoS 2 arrived more than once", res.Repeated)
	}
	return nil
}

// benchRun is one run with its clients.
type benchRun struct {
	f      *benchFlags
	begun  time.Time
	prefix string
	pubs   []*benchPublisher
	subs   []*benchSubscriber
}

func (r *benchRun) now() time.Duration { return time.Since(r.begun) }

// connect logs everybody in and waits until the subscriptions are granted.
func (r *benchRun) connect(ctx context.Context, log io.Writer) error {
	for i := range r.f.subscribers {
		c, err := r.dial(ctx, "s", i, log)
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i+1, err)
		}
		s := &benchSubscriber{client: c, run: r, last: make([]uint64, r.f.publishers)}
		r.subs = append(r.subs, s)
		filter := r.prefix + "/+"
		if r.f.pairs > 0 {
			filter = r.topic(i)
		}
		if err := s.subscribe(filter, mqtt.QoS(r.f.qos)); err != nil {
			return fmt.Errorf("subscriber %d: %w", i+1, err)
		}
	}
	for i := range r.f.publishers {
		c, err := r.dial(ctx, "p", i, log)
		if err != nil {
			return fmt.Errorf("publisher %d: %w", i+1, err)
		}
		c.receiveMax = min(r.f.window, cmp.Or(c.serverMax, 65535))
		r.pubs = append(r.pubs, &benchPublisher{client: c, run: r, topic: r.topic(i), open: map[mqtt.PacketID]time.Duration{}})
	}
	return nil
}

// dial connects one client, under an id of its own that 3.1 takes too.
func (r *benchRun) dial(ctx context.Context, kind string, i int, log io.Writer) (*client, error) {
	f := r.f.clientFlags
	f.id = fmt.Sprintf("bench%d-%s%d", os.Getpid(), kind, i)
	return dial(ctx, &f, log)
}

func (r *benchRun) topic(publisher int) string { return r.prefix + "/" + strconv.Itoa(publisher) }

// measure lets the publishers send and waits for the last message.
func (r *benchRun) measure(ctx context.Context) (*benchResult, error) {
	var senders, receivers sync.WaitGroup
	errs := make([]error, len(r.pubs)+len(r.subs))
	for i, s := range r.subs {
		receivers.Go(func() { errs[len(r.pubs)+i] = s.receive() })
	}
	begun := r.now()
	for i, p := range r.pubs {
		senders.Go(func() { errs[i] = p.publish(ctx, begun+r.f.duration) })
	}
	senders.Wait()
	sending := r.now() - begun
	for _, s := range r.subs {
		s.sentAll(r.expectedBy(s))
	}
	receivers.Wait()
	for i, err := range errs {
		switch {
		case err == nil:
		case i < len(r.pubs):
			errs[i] = fmt.Errorf("publisher %d: %w", i+1, err)
		default:
			errs[i] = fmt.Errorf("subscriber %d: %w", i-len(r.pubs)+1, err)
		}
	}
	return r.result(sending), errors.Join(errs...)
}

// expectedBy is the number of messages that s is to receive.
func (r *benchRun) expectedBy(s *benchSubscriber) int64 {
	var n int64
	for i, p := range r.pubs {
		if r.f.pairs == 0 || r.subs[i] == s {
			n += p.sent - p.refused
		}
	}
	return n
}

func (r *benchRun) result(sending time.Duration) *benchResult {
	res := &benchResult{Publishers: len(r.pubs), Subscribers: len(r.subs), QoS: r.f.qos, Size: r.f.size, Seconds: sending.Seconds()}
	var delivery, acks histogram
	for _, p := range r.pubs {
		res.Sent, res.Refused, res.Acknowledged = res.Sent+p.sent, res.Refused+p.refused, res.Acknowledged+p.acknowledged
		acks.add(&p.latency)
	}
	var lastArrival time.Duration
	for _, s := range r.subs {
		expected := r.expectedBy(s)
		res.Expected, res.Received, res.Repeated = res.Expected+expected, res.Received+s.received, res.Repeated+s.repeated
		res.Missing += max(0, expected-(s.received-s.repeated))
		lastArrival = max(lastArrival, s.lastArrival)
		delivery.add(&s.latency)
	}
	res.SentRate = float64(res.Sent) / sending.Seconds()
	if span := lastArrival - r.firstSend(); res.Received > 0 && span > 0 {
		res.ReceivedRate = float64(res.Received) / span.Seconds()
	}
	res.Delivery, res.Acks = delivery.times(), acks.times()
	return res
}

func (r *benchRun) firstSend() time.Duration {
	first := time.Duration(-1)
	for _, p := range r.pubs {
		if p.sent > 0 && (first < 0 || p.first < first) {
			first = p.first
		}
	}
	return max(first, 0)
}

func (r *benchRun) close() {
	for _, p := range r.pubs {
		p.close()
	}
	for _, s := range r.subs {
		s.close()
	}
}

func (res *benchResult) print(out io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	p("%d publishers, %d subscribers, QoS %d, %d bytes a payload, %.1f s", res.Publishers, res.Subscribers, res.QoS, res.Size, res.Seconds)
	p("sent          %d, %.0f a second", res.Sent, res.SentRate)
	if res.QoS > 0 {
		p("acknowledged  %d", res.Acknowledged)
	}
	if res.Refused > 0 {
		p("refused       %d", res.Refused)
	}
	if res.Subscribers > 0 {
		p("received      %d of %d, %.0f a second; missing %d, repeated %d", res.Received, res.Expected, res.ReceivedRate, res.Missing, res.Repeated)
	}
	if t := res.Delivery; t != nil {
		p("delivered after      p50 %.2f ms, p99 %.2f ms, longest %.2f ms", t.P50, t.P99, t.Max)
	}
	if t := res.Acks; t != nil {
		p("acknowledged after   p50 %.2f ms, p99 %.2f ms, longest %.2f ms", t.P50, t.P99, t.Max)
	}
}
