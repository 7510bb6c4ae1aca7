package crash

import (
	"context"
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	workQueue, deadQueue, heldQueue = "work", "dead", "held"

	workConsumers = 2
	workPrefetch  = 32
	// rejectEvery-th message is rejected by its consumer, and dead-lettered.
	rejectEvery = 10
	// settleAfter deliveries a consumer publishes a message; its confirm says that what
	// was settled before on that channel is.
	settleAfter = 16
)

// work is what consumers of a queue have done. Guarded by ledger.mu.
type work struct {
	settled  map[*track][]bool // for sure
	rejected map[*track][]bool // perhaps
	dead     map[*track]*track // acknowledged: rejected for sure
	gone     map[*track][]bool // settled for sure as a dead letter
	late     bool              // a node that wakes may deliver what it was to deliver before, and say then that this is over
}

func (l *load) startAMQP(t *testing.T) {
	t.Helper()
	l.work = &work{settled: make(map[*track][]bool), rejected: make(map[*track][]bool), dead: make(map[*track]*track), gone: make(map[*track][]bool)}
	conn := must(l.dialAMQP())(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	check(t, ch.ExchangeDeclare("jobs", "direct", true, false, false, false, nil))
	check(t, ch.ExchangeDeclare("dead-letters", "fanout", true, false, false, false, nil))
	must(ch.QueueDeclare(workQueue, true, false, false, false, amqp.Table{"x-dead-letter-exchange": "dead-letters"}))(t)
	must(ch.QueueDeclare(deadQueue, true, false, false, false, nil))(t)
	must(ch.QueueDeclare(heldQueue, true, false, false, false, nil))(t)
	check(t, ch.QueueBind(workQueue, "do", "jobs", false, nil))
	check(t, ch.QueueBind(heldQueue, "hold", "jobs", false, nil))
	check(t, ch.QueueBind(deadQueue, "", "dead-letters", false, nil))

	l.held = l.track("amqp-held")
	for key, tr := range map[string]*track{"do": l.workTrack("amqp-work"), "hold": l.held} {
		l.producers.Go(func() { l.publishJobs(key, tr) })
	}
	for i := range workConsumers {
		name := "amqp-marks-" + string(rune('a'+i))
		l.readers.Go(l.consumer(workQueue, l.workTrack(name), l.doWork, l.workIsSure))
	}
	marks := l.track("amqp-marks-dead")
	marks.view("the undertaker", false, false)
	l.readers.Go(l.consumer(deadQueue, marks, l.bury, l.buriedForSure))
}

// workTrack is of messages that go through the queue work.
func (l *load) workTrack(name string) *track {
	tr := l.track("%s", name)
	tr.view("the workers", false, false)
	dead := l.track("dead-%s", name)
	dead.view("the dead letters", false, false)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work.dead[tr] = dead
	return tr
}

// dialAMQP connects to the first node that answers.
func (l *load) dialAMQP() (conn *amqp.Connection, err error) {
	for _, addr := range l.nodes() {
		conn, err = amqp.DialConfig("amqp://"+addr, amqp.Config{Locale: "en_US", Heartbeat: 10 * time.Second, Dial: amqp.DefaultDial(5 * time.Second)})
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// connected runs do with a channel in confirm mode, again whenever that ends, until ctx
// does. What a client is refused is a fault: only that there is no broker is not.
func (l *load) connected(ctx context.Context, who string, do func(*amqp.Channel) error) {
	for ctx.Err() == nil {
		addr := ""
		err := func() error {
			conn, err := l.dialAMQP()
			if err != nil {
				return err
			}
			defer conn.Close()
			addr = conn.RemoteAddr().String()
			ch, err := conn.Channel()
			if err != nil {
				return err
			}
			if err := ch.Confirm(false); err != nil {
				return err
			}
			return do(ch)
		}()
		if refused, ok := errors.AsType[*amqp.Error](err); ok && (refused.Code == amqp.NotFound || refused.Code == amqp.PreconditionFailed) {
			l.fault("AMQP: %v", refused)
		}
		if ctx.Err() == nil {
			l.trouble(who, addr, "%v", err)
		}
		select {
		case <-time.After(retryOf):
		case <-ctx.Done():
		}
	}
}

// publishJobs publishes; what is not confirmed when the connection breaks is not sent again.
func (l *load) publishJobs(key string, tr *track) {
	type sent struct {
		confirm *amqp.DeferredConfirmation
		n       int
	}
	l.connected(l.sending, tr.name, func(ch *amqp.Channel) error {
		broken := l.whileOpen(ch)
		confirms, done := make(chan sent, settleAfter), make(chan struct{})
		go func() {
			defer close(done)
			for s := range confirms {
				if ok, err := s.confirm.WaitContext(broken); err == nil && ok {
					tr.ack(s.n)
				}
			}
		}()
		defer func() { close(confirms); <-done }()
		for next := l.pace(); next() && broken.Err() == nil; {
			n, body := tr.body()
			confirm, err := ch.PublishWithDeferredConfirm("jobs", key, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
			if err != nil {
				return err
			}
			select {
			case confirms <- sent{confirm, n}:
			case <-broken.Done():
			}
		}
		return context.Cause(broken)
	})
}

// whileOpen ends with the channel; its cause says why.
func (l *load) whileOpen(ch *amqp.Channel) context.Context {
	ctx, cancel := context.WithCancelCause(l.living)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() { // ends with the channel, which ends with its connection
		if err := <-closed; err != nil {
			cancel(err)
		}
		cancel(nil)
	}()
	return ctx
}

// job is a delivery of a message, and what its consumer did with it.
type job struct {
	track    *track
	n        int
	rejected bool
	again    bool // it was settled before: this is nothing, unless the channel goes on
}

// consumer consumes a queue for as long as the load lives. It publishes to the same queue
// now and then; what it settled before is settled once that is confirmed, and then handed
// to sure.
func (l *load) consumer(queue string, marks *track, handle func(d *amqp.Delivery, first map[*track]int) *job, sure func(*job)) func() {
	return func() {
		l.connected(l.living, "a consumer of "+queue, func(ch *amqp.Channel) error {
			broken := l.whileOpen(ch)
			if err := ch.Qos(workPrefetch, 0, false); err != nil {
				return err
			}
			deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
			if err != nil {
				return err
			}
			first := make(map[*track]int)
			var settled, marked []*job // since the last mark; before it
			var mark *amqp.DeferredConfirmation
			number := 0
			for {
				var d amqp.Delivery
				var confirmed <-chan struct{}
				if mark != nil {
					confirmed = mark.Done()
				}
				select {
				case <-l.living.Done():
					return nil
				case <-confirmed:
					if mark.Acked() {
						marks.ack(number)
						for _, j := range marked {
							sure(j)
						}
					}
					mark = nil
					continue
				case next, open := <-deliveries:
					if !open {
						return context.Cause(broken)
					}
					d = next
				}
				j := handle(&d, first)
				if j != nil && j.rejected {
					err = d.Reject(false)
				} else {
					err = d.Ack(false)
				}
				if err != nil {
					return err
				}
				if j != nil {
					settled = append(settled, j)
				}
				if mark != nil || len(settled) < settleAfter {
					continue
				}
				n, body := marks.body()
				mark, err = ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
				if err != nil {
					return err
				}
				number, marked, settled = n, settled, nil
			}
		})
	}
}

// doWork sees a message of the queue work. first has the last number of each track that
// came to this channel for the first time.
func (l *load) doWork(d *amqp.Delivery, first map[*track]int) *job {
	tr, n := l.seeAs("the workers", d.Body)
	if tr == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.work.settled[tr]
	again := n < len(s) && s[n]
	if again && !l.work.late {
		l.cameBackLocked(tr, n)
	}
	if last, ok := first[tr]; !d.Redelivered {
		if ok && n < last {
			l.faultLocked("the queue has %s/%d after %d", tr.name, n, last)
		}
		first[tr] = n
	}
	j := &job{track: tr, n: n, rejected: n%rejectEvery == 0, again: again}
	if j.rejected {
		l.work.rejected[tr] = grow(l.work.rejected[tr], n)
		l.work.rejected[tr][n] = true
	}
	return j
}

func (l *load) cameBackLocked(tr *track, n int) {
	l.faultLocked("%s/%d was settled before another message was confirmed, and comes back", tr.name, n)
}

func (l *load) workIsSure(j *job) {
	l.mu.Lock()
	if j.again {
		l.cameBackLocked(j.track, j.n)
	}
	l.work.settled[j.track] = grow(l.work.settled[j.track], j.n)
	l.work.settled[j.track][j.n] = true
	dead := l.work.dead[j.track]
	l.mu.Unlock()
	if j.rejected {
		dead.ack(j.n)
	}
}

// bury sees a dead letter.
func (l *load) bury(d *amqp.Delivery, _ map[*track]int) *job {
	tr, n := l.seeAs("the undertaker", d.Body)
	if tr == nil {
		return nil
	}
	l.mu.Lock()
	dead := l.work.dead[tr]
	if dead != nil {
		if r := l.work.rejected[tr]; n >= len(r) || !r[n] {
			l.faultLocked("%s/%d is a dead letter, and nobody rejected it", tr.name, n)
		}
	}
	if g := l.work.gone[tr]; n < len(g) && g[n] {
		if d.Redelivered {
			l.faultLocked("the dead letter %s/%d was settled before another message was confirmed, and comes back", tr.name, n)
		}
		g[n] = false // another: a queue that was killed while it waited for the confirm of a dead letter sends one more
	}
	l.mu.Unlock()
	if dead != nil {
		dead.views[0].see(n)
	}
	return &job{track: tr, n: n}
}

func (l *load) buriedForSure(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.work.gone[j.track] = grow(l.work.gone[j.track], j.n)
	l.work.gone[j.track][j.n] = true
}

// drainHeld consumes the queue that nobody has consumed so far.
func (l *load) drainHeld(ctx context.Context, t *testing.T) {
	t.Helper()
	held := l.held.view("the drained queue", true, true)
	conn := must(l.dialAMQP())(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	q := must(ch.QueueDeclarePassive(heldQueue, true, false, false, false, nil))(t)
	deliveries := must(ch.Consume(heldQueue, "", true, false, false, false, nil))(t)
	for range q.Messages {
		select {
		case d := <-deliveries:
			if tr, n := l.parse(held.name, d.Body); tr == l.held {
				held.see(n)
			}
		case <-ctx.Done():
			l.fault("the queue %s had %d messages, and some do not come", heldQueue, q.Messages)
			return
		}
	}
}

// checkWorkIsDone waits until the consumed queues are empty.
func (l *load) checkWorkIsDone(ctx context.Context, t *testing.T) {
	t.Helper()
	conn := must(l.dialAMQP())(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	tick := time.NewTicker(retryOf)
	defer tick.Stop()
	for _, name := range []string{workQueue, deadQueue} {
		for {
			q := must(ch.QueueDeclarePassive(name, true, false, false, false, nil))(t)
			if q.Messages == 0 {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				l.fault("the queue %s still has %d messages", name, q.Messages)
				return
			}
		}
	}
}
