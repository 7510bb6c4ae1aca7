package kafka

import (
	"errors"
	"reflect"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A plan of faults may have requests fail, wait, lose their answer, or end the connection. Without rules for Kafka a
// request pays the load in Engine.On.

// errInjected ends a connection as the plan of faults wants.
var errInjected = errors.New("a planned fault")

// disturb asks about a request. failed is the code to answer with instead of carrying it out; an error ends the connection.
func (c *conn) disturb(h header) (failed code, err error) {
	act, ok := c.srv.cfg.Chaos.Ask(chaos.Ask{Seam: chaos.Kafka, What: kmsg.NameForKey(h.key), In: true, Client: h.client})
	if !ok {
		return codeNone, nil
	}
	return c.obey(act)
}

// disturbTopic is disturb for what of a request is about one topic, by rules that name topics.
func (c *conn) disturbTopic(h header, topic string) (failed code, err error) {
	act, ok := c.srv.cfg.Chaos.Ask(chaos.Ask{Seam: chaos.Kafka, What: kmsg.NameForKey(h.key), In: true, Client: h.client, Topic: topic, Part: true})
	if !ok {
		return codeNone, nil
	}
	return c.obey(act)
}

func (c *conn) obey(act chaos.Act) (failed code, err error) {
	switch act.Do {
	case chaos.Fail:
		return code(act.Code), nil
	case chaos.Delay:
		c.settle() // what came before it is not to wait too
		c.srv.cfg.Chaos.Wait(act, c.ctx.Done(), wire.Closed(c.nc))
		return codeNone, nil
	case chaos.Drop:
		c.settle()
		c.lost.Store(true)
		return codeNone, nil
	}
	wire.Reset(c.nc)
	return codeNone, &fail{Injected, errInjected}
}

// failure is the answer to a request of which everything fails with one code: what the request names, each with it.
func failure(req kmsg.Request, failed code) kmsg.Response {
	resp := req.ResponseKind()
	mirror(reflect.ValueOf(req).Elem(), reflect.ValueOf(resp).Elem(), failed)
	return resp
}

// mirror fills an answer, or an element of one, from what was asked: fields and arrays of one name are alike, and every
// field for an error code has it.
func mirror(q, a reflect.Value, failed code) {
	t := a.Type()
	for i := range t.NumField() {
		to, name := a.Field(i), t.Field(i).Name
		if name == "ErrorCode" && to.Kind() == reflect.Int16 {
			to.SetInt(int64(failed))
			continue
		}
		from := q.FieldByName(name)
		if !from.IsValid() {
			from = q.FieldByName(elsewhere[name])
		}
		switch {
		case !from.IsValid() || !to.CanSet() || name == "Version":
		case to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Struct && from.Kind() == reflect.Slice:
			for j := range from.Len() {
				one := reflect.New(to.Type().Elem())
				if d, ok := one.Interface().(interface{ Default() }); ok {
					d.Default()
				}
				if x := from.Index(j); x.Kind() == reflect.Struct {
					mirror(x, one.Elem(), failed)
				} else {
					mirrorName(x, one.Elem(), failed)
				}
				to.Set(reflect.Append(to, one.Elem()))
			}
		case from.Type() == to.Type() && to.Kind() != reflect.Slice:
			to.Set(from)
		}
	}
}

// elsewhere is where a request has what its answer has under another name.
var elsewhere = map[string]string{"Coordinators": "CoordinatorKeys"}

// mirrorName fills an element that was asked for by name, or number, alone: the first field of that type has it.
func mirrorName(x, a reflect.Value, failed code) {
	named := false
	for i := range a.NumField() {
		to := a.Field(i)
		switch {
		case a.Type().Field(i).Name == "ErrorCode" && to.Kind() == reflect.Int16:
			to.SetInt(int64(failed))
		case named:
		case to.Type() == x.Type():
			to.Set(x)
			named = true
		case to.Kind() == reflect.Pointer && to.Type().Elem() == x.Type():
			p := reflect.New(x.Type())
			p.Elem().Set(x)
			to.Set(p)
			named = true
		}
	}
}
