package adminapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// serve returns a fake broker and a client that reaches it over HTTP.
func serve(t *testing.T, opt adminapi.HandlerOptions) (*adminapitest.Fake, *adminapi.Client) {
	t.Helper()
	fake := adminapitest.New()
	srv := httptest.NewServer(adminapi.Handler(fake, opt))
	t.Cleanup(srv.Close)
	c, err := adminapi.NewClient(srv.URL, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	return fake, c
}

// Names that a path could lose: each must come back as it went.
var awkwardNames = []string{"sensors", "sensors/dev1", "/a//b/", ".", "..", "a b", "a+b", "100%", "50%2F", "ü/ö", "?x=1#y", "a;b", "\"'<>"}

func TestNamesCrossHTTP(t *testing.T) {
	_, c := serve(t, adminapi.HandlerOptions{})
	ctx := t.Context()
	for _, name := range awkwardNames {
		if _, err := c.CreateTopic(ctx, adminapi.TopicSpec{Name: name}); err != nil {
			t.Fatalf("create %q: %v", name, err)
		}
		got, err := c.Topic(ctx, adminapi.Ref{Name: name})
		if err != nil || got.Name != name {
			t.Errorf("topic %q came back as %q, %v", name, got.Name, err)
		}
		if err := c.DeleteTopic(ctx, adminapi.Ref{Name: name}); err != nil {
			t.Errorf("delete %q: %v", name, err)
		}
	}
}

func TestDefaultExchange(t *testing.T) {
	fake, c := serve(t, adminapi.HandlerOptions{})
	fake.X = []adminapi.Exchange{{Name: "", Type: "direct"}}
	x, err := c.Exchange(t.Context(), adminapi.Ref{})
	if err != nil || x.Type != "direct" {
		t.Fatalf("got %+v, %v", x, err)
	}
}

func TestLists(t *testing.T) {
	fake, c := serve(t, adminapi.HandlerOptions{})
	for _, n := range []string{"c", "a/2", "b", "a/1"} {
		fake.T = append(fake.T, adminapi.Topic{Name: n, Created: time.Unix(1, 0).UTC(), Partitions: []adminapi.Partition{}})
	}
	tests := []struct {
		q    adminapi.Query
		want string
	}{
		{adminapi.Query{}, "a/1 a/2 b c"},
		{adminapi.Query{Prefix: "a/"}, "a/1 a/2"},
		{adminapi.Query{After: "a/2"}, "b c"},
		{adminapi.Query{Limit: 2}, "a/1 a/2"},
	}
	for _, tt := range tests {
		ts, err := c.Topics(t.Context(), tt.q)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tp := range ts {
			names = append(names, tp.Name)
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.q, got, tt.want)
		}
	}

	resp, err := http.Get(c.Base() + "/v1/topics?limit=3")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var env adminapi.Envelope
	if err := json.NewDecoder(resp.Body).Decode(&env); err != nil {
		t.Fatal(err)
	}
	if env.Schema != adminapi.SchemaTopics || env.Next != "b" || len(env.Warnings) != 1 {
		t.Errorf("envelope: %+v", env)
	}
}

func TestEmptyListIsAList(t *testing.T) {
	_, c := serve(t, adminapi.HandlerOptions{})
	for _, path := range []string{"topics", "queues", "exchanges", "bindings", "sessions", "groups", "retained", "namespaces", "users"} {
		resp, err := http.Get(c.Base() + "/v1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(body), `"data":[]`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestErrors(t *testing.T) {
	var told error
	fake, c := serve(t, adminapi.HandlerOptions{Failed: func(_ *http.Request, err error) { told = err }})
	tests := []struct {
		err       error
		code      string
		category  adminapi.Category
		retryable bool
	}{
		{fault.New(fault.NotFound, "find", "x", "no such topic"), "not_found", adminapi.CategoryNotFound, false},
		{fault.Of(fault.Exists, "create", "x"), "exists", adminapi.CategoryConflict, false},
		{fault.Of(fault.Unavailable, "append", "x"), "unavailable", adminapi.CategoryUnavailable, true},
		{fault.Of(fault.Denied, "read", "x"), "denied", adminapi.CategoryAuth, false},
		{&adminapi.Error{Code: "not_found", Category: adminapi.CategoryNotFound, Message: "m", Hint: "rmq up"}, "not_found", adminapi.CategoryNotFound, false},
		{errors.New("a secret path"), "internal", adminapi.CategoryInternal, false},
	}
	for _, tt := range tests {
		fake.Update(func(f *adminapitest.Fake) { f.Fail = tt.err })
		_, err := c.Status(t.Context())
		e, ok := errors.AsType[*adminapi.Error](err)
		if !ok || e.Code != tt.code || e.Category != tt.category || e.Retryable != tt.retryable {
			t.Errorf("%v: got %#v", tt.err, err)
			continue
		}
		if strings.Contains(e.Message, "secret") {
			t.Errorf("an unclassified error leaked its text: %s", e.Message)
		}
	}
	if told == nil || told.Error() != "a secret path" {
		t.Errorf("the operator was told %v", told)
	}
}

func TestEveryKindHasARow(t *testing.T) {
	for k := fault.Internal; k <= fault.Full; k++ {
		e := adminapi.ErrorOf(fault.Of(k, "op", "x"))
		if e.Code != adminapi.Code(k) || (e.Category == adminapi.CategoryInternal) != (k == fault.Internal) {
			t.Errorf("%v: %+v", k, e)
		}
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	c, err := adminapi.NewClient(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); !isUnreachable(err) {
		t.Errorf("a stranger's answer: %v", err)
	}
	srv.Close()
	if _, err := c.Status(t.Context()); !isUnreachable(err) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := adminapi.NewClient("localhost:1", nil); err == nil {
		t.Error("an address without scheme was taken")
	}
}

func isUnreachable(err error) bool {
	e, ok := errors.AsType[*adminapi.Error](err)
	return ok && e.Code == adminapi.CodeUnreachable
}

func TestBadRequests(t *testing.T) {
	_, c := serve(t, adminapi.HandlerOptions{})
	tests := []struct {
		method, path, body string
		header             [2]string
		status             int
	}{
		{"POST", "/v1/topics", "{", [2]string{}, 400},
		{"POST", "/v1/topics", `{"name":"` + strings.Repeat("x", adminapi.RequestMax) + `"}`, [2]string{}, 413},
		{"GET", "/v1/topics?limit=many", "", [2]string{}, 400},
		{"GET", "/v1/watch?interval=1ns", "", [2]string{}, 400},
		{"GET", "/v1/nothing", "", [2]string{}, 404},
		{"POST", "/v1/status", "", [2]string{}, 404},
		{"POST", "/v1/shutdown", "", [2]string{"Origin", "http://elsewhere.example"}, 403},
		{"POST", "/v1/shutdown", "", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
	}
	for _, tt := range tests {
		req, _ := http.NewRequest(tt.method, c.Base()+tt.path, strings.NewReader(tt.body))
		if tt.header[0] != "" {
			req.Header.Set(tt.header[0], tt.header[1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var env adminapi.Envelope
		if err := json.NewDecoder(resp.Body).Decode(&env); err != nil || env.Error == nil {
			t.Errorf("%s %s: not an error envelope (%v)", tt.method, tt.path, err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, resp.StatusCode, tt.status)
		}
	}
}

func TestMutations(t *testing.T) {
	fake, c := serve(t, adminapi.HandlerOptions{})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CreateTopic(ctx, adminapi.TopicSpec{Name: "orders.eu", Spelling: "kafka", Partitions: 2})
	must(err)
	tp, err := c.AlterTopic(ctx, adminapi.Ref{Name: "orders/eu"}, adminapi.TopicChange{Partitions: 3, Set: map[string]string{"retention.ms": "1"}})
	must(err)
	if len(tp.Partitions) != 3 || tp.Config["retention.ms"] != "1" || tp.Names.Kafka != "orders.eu" {
		t.Errorf("altered: %+v", tp)
	}

	_, err = c.CreateQueue(ctx, adminapi.QueueSpec{Name: "jobs", Durable: true})
	must(err)
	fake.Update(func(f *adminapitest.Fake) { f.Q[0].Ready = 3 })
	if _, err := c.DeleteQueue(ctx, adminapi.Ref{Name: "jobs"}, adminapi.DeleteQueueOptions{IfEmpty: true}); err == nil {
		t.Error("a queue that is not empty was deleted")
	}
	n, err := c.PurgeQueue(ctx, adminapi.Ref{Name: "jobs"})
	must(err)
	if n != 3 {
		t.Errorf("purged %d", n)
	}
	_, err = c.DeleteQueue(ctx, adminapi.Ref{Name: "jobs"}, adminapi.DeleteQueueOptions{IfEmpty: true, IfUnused: true})
	must(err)

	_, err = c.CreateExchange(ctx, adminapi.Exchange{Name: "x", Type: "topic"})
	must(err)
	b := adminapi.Binding{Source: "x", Destination: "q", Key: "a.#"}
	must(c.Bind(ctx, b))
	bs, err := c.Bindings(ctx, adminapi.Query{})
	must(err)
	if len(bs) != 1 || bs[0].Key != "a.#" {
		t.Errorf("bindings: %+v", bs)
	}
	must(c.Unbind(ctx, b))
	must(c.DeleteExchange(ctx, adminapi.Ref{Name: "x"}, adminapi.DeleteExchangeOptions{}))

	if _, err := c.PutUser(ctx, adminapi.UserSpec{Name: "ann"}); err == nil {
		t.Error("a user without a password was created")
	}
	secret := "s3cret"
	rule := acl.Rule{User: "ann", Actions: acl.Read | acl.Create, Kind: acl.Group, Name: "g/1", Deny: true}
	if n, err := c.PutRules(ctx, []acl.Rule{rule}); n != 1 || err != nil {
		t.Errorf("rules: %d changed, %v", n, err)
	}
	if rules, err := c.Rules(ctx); err != nil || len(rules) != 1 || rules[0] != rule {
		t.Errorf("rules: %+v, %v", rules, err)
	}
	if v, err := c.TestAccess(ctx, adminapi.AccessQuestion{User: "ann", Action: acl.Read, Kind: acl.Group, Name: "g/1"}); err != nil || v.Allowed || v.Rule == nil || *v.Rule != rule {
		t.Errorf("verdict: %+v, %v", v, err)
	}
	if n, err := c.DeleteRules(ctx, []acl.Rule{rule}); n != 1 || err != nil {
		t.Errorf("rules: %d removed, %v", n, err)
	}
	ban := acl.Ban{Client: "dev/1", Host: "10.0.0.0/8", Reason: "r", Until: time.UnixMilli(1).UTC()}
	if got, err := c.PutBan(ctx, ban); got != ban || err != nil {
		t.Errorf("ban: %+v, %v", got, err)
	}
	if bans, err := c.Bans(ctx); err != nil || len(bans) != 1 || bans[0] != ban {
		t.Errorf("bans: %+v, %v", bans, err)
	}
	must(c.DeleteBan(ctx, ban))
	fake.Update(func(f *adminapitest.Fake) { f.Opt = []adminapi.Option{{Name: "a", Value: "1", Default: "1"}} })
	if all, err := c.ChangeOptions(ctx, adminapi.OptionsChange{Set: map[string]string{"a": "2"}}); err != nil || len(all) != 1 || all[0].Value != "2" {
		t.Errorf("settings: %+v, %v", all, err)
	}
	if all, err := c.ChangeOptions(ctx, adminapi.OptionsChange{Unset: []string{"a"}}); err != nil || len(all) != 1 || all[0].Value != "1" {
		t.Errorf("settings: %+v, %v", all, err)
	}
	u, err := c.PutUser(ctx, adminapi.UserSpec{Name: "ann", Password: &secret, Tags: []string{"administrator"}})
	must(err)
	if !reflect.DeepEqual(u.Tags, []string{"administrator"}) || *fake.Password["ann"] != secret {
		t.Errorf("user: %+v", u)
	}
	must(c.DeleteUser(ctx, "ann"))
	must(c.Shutdown(ctx))
	if !fake.Stopped {
		t.Error("not stopped")
	}
}

// eager is a clock on which everything is due at once.
type eager struct{ clock.Wall }

func (eager) AfterFunc(_ time.Duration, f func()) clock.Timer { return clock.Wall{}.AfterFunc(0, f) }

func TestWatchCarriesRates(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fake := adminapitest.New()
	fake.O = adminapi.Overview{At: at, Traffic: []adminapi.Traffic{{Protocol: "mqtt", Counters: adminapi.Counters{MessagesIn: 10}}}}
	stop := errors.New("enough")
	var got []*adminapi.Rates
	err := adminapi.Watch(t.Context(), fake, eager{}, time.Second, func(o adminapi.Overview) error {
		got = append(got, o.Traffic[0].Rates)
		if len(got) == 2 {
			return stop
		}
		fake.Update(func(f *adminapitest.Fake) {
			f.O.At = at.Add(2 * time.Second)
			f.O.Traffic = []adminapi.Traffic{{Protocol: "mqtt", Counters: adminapi.Counters{MessagesIn: 40}}}
		})
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if got[0] != nil {
		t.Errorf("the first line has rates: %+v", got[0])
	}
	if got[1] == nil || got[1].MessagesIn != 15 {
		t.Errorf("rates: %+v", got[1])
	}
}

func TestWatchOverHTTP(t *testing.T) {
	fake, c := serve(t, adminapi.HandlerOptions{Clock: eager{}})
	fake.O.Topics = 3
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	err := c.Watch(ctx, time.Second, func(o adminapi.Overview) error {
		if lines++; lines == 3 {
			cancel()
		}
		if o.Topics != 3 {
			t.Errorf("line %d: %+v", lines, o)
		}
		return nil
	})
	if err != nil || lines != 3 {
		t.Fatalf("%d lines, %v", lines, err)
	}
}

func TestRatesAfterRestart(t *testing.T) {
	at := time.Unix(100, 0)
	before := adminapi.Overview{At: at, Traffic: []adminapi.Traffic{{Protocol: "amqp", Counters: adminapi.Counters{BytesIn: 10}}}}
	after := adminapi.Overview{At: at.Add(time.Second), Traffic: []adminapi.Traffic{{Protocol: "amqp"}}}
	adminapi.AddRates(before, &after)
	if after.Traffic[0].Rates != nil {
		t.Errorf("counters went back, and gave %+v", after.Traffic[0].Rates)
	}
}

func TestLive(t *testing.T) {
	fake, c := serve(t, adminapi.HandlerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // ends when it has emitted
		if fake.AwaitLive(ctx) == nil {
			fake.Emit(adminapi.LiveEvent{Message: &adminapi.Message{Protocol: "mqtt", Topic: "a/b", Value: []byte("21.5")}})
			fake.Emit(adminapi.LiveEvent{Stats: &adminapi.LiveStats{Matched: 3, Shown: 1, Dropped: 2}})
		}
	}()
	var got []adminapi.LiveEvent
	err := c.Live(ctx, adminapi.LiveQuery{Filter: "a/#"}, func(e adminapi.LiveEvent) error {
		if got = append(got, e); len(got) == 2 {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != 2 {
		t.Fatalf("%d events, %v", len(got), err)
	}
	if m := got[0].Message; m == nil || string(m.Value) != "21.5" || m.Topic != "a/b" {
		t.Errorf("message: %+v", m)
	}
	if s := got[1].Stats; s == nil || s.Dropped != 2 {
		t.Errorf("stats: %+v", s)
	}
}

func TestLiveFailsBeforeItBegins(t *testing.T) {
	fake, c := serve(t, adminapi.HandlerOptions{})
	fake.Fail = fault.New(fault.Invalid, "live", "a/#/b", "# must be last")
	err := c.Live(t.Context(), adminapi.LiveQuery{}, func(adminapi.LiveEvent) error { return nil })
	if e, ok := errors.AsType[*adminapi.Error](err); !ok || e.Code != "invalid" {
		t.Fatalf("got %v", err)
	}
}

func TestMessageJSON(t *testing.T) {
	offset, partition, qos := int64(7), int32(0), uint8(1)
	tests := []struct {
		name string
		m    adminapi.Message
		want string
	}{
		{"text", adminapi.Message{Protocol: "kafka", Topic: "sensors", Partition: &partition, Offset: &offset, Key: []byte("sensors/dev1"), Value: []byte("21.5"), Time: time.UnixMilli(1500).UTC()},
			`{"protocol":"kafka","topic":"sensors","partition":0,"offset":7,"key":"sensors/dev1","value":"21.5","time":"1970-01-01T00:00:01.5Z","size":4}`},
		{"binary", adminapi.Message{Protocol: "mqtt", Topic: "t", Value: []byte{0xff, 0}, QoS: &qos, Retain: true},
			`{"protocol":"mqtt","topic":"t","value":"/wA=","value_encoding":"base64","qos":1,"retain":true,"size":2}`},
		{"null and empty", adminapi.Message{Protocol: "kafka", Headers: []adminapi.Header{{Name: "a", Value: nil}, {Name: "a", Value: []byte{}}, {Name: "b", Value: []byte{0x80}}}},
			`{"protocol":"kafka","value":null,"headers":[{"name":"a","value":null},{"name":"a","value":""},{"name":"b","value":"gA==","encoding":"base64"}],"size":0}`},
		{"default exchange", adminapi.Message{Protocol: "amqp", RoutingKey: "q", Value: []byte{}},
			`{"protocol":"amqp","exchange":"","routing_key":"q","value":"","size":0}`},
	}
	for _, tt := range tests {
		got, err := json.Marshal(tt.m)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s:\n got %s %v\nwant %s", tt.name, got, err, tt.want)
		}
		var back adminapi.Message
		if err := json.Unmarshal(got, &back); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		back.Size = tt.m.Size // filled in on the way out
		if !reflect.DeepEqual(back, tt.m) {
			t.Errorf("%s came back as %+v", tt.name, back)
		}
	}
}

func TestMessageJSONRefusesBadBase64(t *testing.T) {
	var m adminapi.Message
	for _, s := range []string{`{"value":"%","value_encoding":"base64"}`, `{"value":"x","value_encoding":"rot13"}`} {
		if err := json.Unmarshal([]byte(s), &m); err == nil {
			t.Errorf("%s was taken", s)
		}
	}
}

// flushes is a response that counts how often it is sent.
type flushes struct {
	*httptest.ResponseRecorder
	sent chan int // bytes so far, each time
}

func (f flushes) Flush() { f.sent <- f.Body.Len() }

// Live messages that come together are sent together.
func TestLiveIsSentTogether(t *testing.T) {
	fake := adminapitest.New()
	ctx, cancel := context.WithCancel(t.Context())
	w := flushes{httptest.NewRecorder(), make(chan int)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		adminapi.Handler(fake, adminapi.HandlerOptions{}).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "http://localhost/v1/live", nil))
	}()
	if n := <-w.sent; n != 0 {
		t.Errorf("%d bytes before anything is shown", n)
	}
	if err := fake.AwaitLive(ctx); err != nil {
		t.Fatal(err)
	}
	m := &adminapi.Message{Protocol: "mqtt", Topic: "a/b", Value: []byte("21.5")}
	fake.Emit(adminapi.LiveEvent{Message: m, Behind: true})
	fake.Emit(adminapi.LiveEvent{Message: m, Behind: true})
	fake.Emit(adminapi.LiveEvent{Message: m})
	<-w.sent
	if n := strings.Count(w.Body.String(), "\n"); n != 3 {
		t.Errorf("%d lines are sent together", n)
	}
	cancel()
	<-done
}
