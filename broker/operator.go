package broker

import "sync"

// obeying has the parts of the broker follow what an operator changes while it runs: bans and settings.
type obeying struct {
	poke chan struct{} // capacity 1
	end  chan struct{}
	done chan struct{} // nil: not begun
	once sync.Once
}

// itemsChanged is told by the kernel that log 0 has other items.
func (o *obeying) itemsChanged() {
	select {
	case o.poke <- struct{}{}:
	default: // it will look anyway
	}
}

// begin calls look, one call at a time, after each change, until stop.
func (o *obeying) begin(look func()) {
	o.end, o.done = make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(o.done)
		for {
			select {
			case <-o.poke:
				look()
			case <-o.end:
				return
			}
		}
	}()
}

func (o *obeying) stop() {
	if o.done != nil {
		o.once.Do(func() { close(o.end) })
		<-o.done
	}
}

// obey has all who go by bans and settings look at what they say.
func (b *Broker) obey() {
	b.bridges.Changed()
	b.mqtt.Changed()
	b.amqp.Changed()
}
