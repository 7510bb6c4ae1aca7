package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/setting"
)

// Client asks a broker over HTTP. It is a Source. Safe for concurrent use.
//
// Its errors are *Error: what the broker answered, or, with code "unreachable",
// that it did not answer.
type Client struct {
	base string
	user *url.Userinfo
	http *http.Client
}

// CodeUnreachable is the code of an error that the client made itself: nobody
// answered at the address, or not in our language.
const CodeUnreachable = "unreachable"

// lineMax bounds one line of a stream: a message with its headers.
const lineMax = 8 << 20

// NewClient returns a client of the broker whose HTTP address is base
// ("http://127.0.0.1:15672"; user and password may stand in it). hc may be nil.
func NewClient(base string, hc *http.Client) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not an http address", base)
	}
	if hc == nil {
		hc = http.DefaultClient
	}
	c := &Client{user: u.User, http: hc}
	u.User = nil
	c.base = strings.TrimSuffix(u.String(), "/")
	return c, nil
}

// Base is the address that the client asks, without credentials.
func (c *Client) Base() string { return c.base }

var _ Source = (*Client)(nil)

func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, "GET", "/v1/status", nil, nil, &s)
}

func (c *Client) Overview(ctx context.Context) (o Overview, err error) {
	return o, c.call(ctx, "GET", "/v1/overview", nil, nil, &o)
}

func (c *Client) Topics(ctx context.Context, q Query) (ts []Topic, err error) {
	return ts, c.call(ctx, "GET", "/v1/topics", q.values(), nil, &ts)
}

func (c *Client) Topic(ctx context.Context, r Ref) (t Topic, err error) {
	return t, c.call(ctx, "GET", "/v1/topics/"+escapeName(r.Name), r.values(), nil, &t)
}

func (c *Client) CreateTopic(ctx context.Context, s TopicSpec) (t Topic, err error) {
	return t, c.call(ctx, "POST", "/v1/topics", nil, s, &t)
}

func (c *Client) AlterTopic(ctx context.Context, r Ref, ch TopicChange) (t Topic, err error) {
	return t, c.call(ctx, "PATCH", "/v1/topics/"+escapeName(r.Name), r.values(), ch, &t)
}

func (c *Client) DeleteTopic(ctx context.Context, r Ref) error {
	return c.call(ctx, "DELETE", "/v1/topics/"+escapeName(r.Name), r.values(), nil, nil)
}

func (c *Client) Queues(ctx context.Context, q Query) (qs []Queue, err error) {
	return qs, c.call(ctx, "GET", "/v1/queues", q.values(), nil, &qs)
}

func (c *Client) Queue(ctx context.Context, r Ref) (q Queue, err error) {
	return q, c.call(ctx, "GET", "/v1/queues/"+escapeName(r.Name), r.values(), nil, &q)
}

func (c *Client) CreateQueue(ctx context.Context, s QueueSpec) (q Queue, err error) {
	return q, c.call(ctx, "POST", "/v1/queues", nil, s, &q)
}

func (c *Client) DeleteQueue(ctx context.Context, r Ref, o DeleteQueueOptions) (int64, error) {
	v := r.values()
	flag(v, "if_unused", o.IfUnused)
	flag(v, "if_empty", o.IfEmpty)
	return c.count(ctx, "DELETE", "/v1/queues/"+escapeName(r.Name), v)
}

func (c *Client) PurgeQueue(ctx context.Context, r Ref) (int64, error) {
	return c.count(ctx, "POST", "/v1/queues/"+escapeName(r.Name)+"/purge", r.values())
}

func (c *Client) Exchanges(ctx context.Context, q Query) (xs []Exchange, err error) {
	return xs, c.call(ctx, "GET", "/v1/exchanges", q.values(), nil, &xs)
}

func (c *Client) Exchange(ctx context.Context, r Ref) (x Exchange, err error) {
	return x, c.call(ctx, "GET", "/v1/exchanges/"+exchangeName(r), r.values(), nil, &x)
}

func (c *Client) CreateExchange(ctx context.Context, x Exchange) (got Exchange, err error) {
	return got, c.call(ctx, "POST", "/v1/exchanges", nil, x, &got)
}

func (c *Client) DeleteExchange(ctx context.Context, r Ref, o DeleteExchangeOptions) error {
	v := r.values()
	flag(v, "if_unused", o.IfUnused)
	return c.call(ctx, "DELETE", "/v1/exchanges/"+exchangeName(r), v, nil, nil)
}

func (c *Client) Bindings(ctx context.Context, q Query) (bs []Binding, err error) {
	return bs, c.call(ctx, "GET", "/v1/bindings", q.values(), nil, &bs)
}

func (c *Client) Bind(ctx context.Context, b Binding) error {
	return c.call(ctx, "POST", "/v1/bindings", nil, b, nil)
}

func (c *Client) Unbind(ctx context.Context, b Binding) error {
	return c.call(ctx, "POST", "/v1/bindings/remove", nil, b, nil)
}

func (c *Client) Sessions(ctx context.Context, q Query) (ss []Session, err error) {
	return ss, c.call(ctx, "GET", "/v1/sessions", q.values(), nil, &ss)
}

func (c *Client) Session(ctx context.Context, r Ref) (s Session, err error) {
	return s, c.call(ctx, "GET", "/v1/sessions/"+escapeName(r.Name), r.values(), nil, &s)
}

func (c *Client) DeleteSession(ctx context.Context, r Ref) error {
	return c.call(ctx, "DELETE", "/v1/sessions/"+escapeName(r.Name), r.values(), nil, nil)
}

func (c *Client) Slow(ctx context.Context) (all []Slow, err error) {
	return all, c.call(ctx, "GET", "/v1/slow", nil, nil, &all)
}

func (c *Client) Groups(ctx context.Context, q Query) (gs []Group, err error) {
	return gs, c.call(ctx, "GET", "/v1/groups", q.values(), nil, &gs)
}

func (c *Client) Group(ctx context.Context, r Ref) (g Group, err error) {
	return g, c.call(ctx, "GET", "/v1/groups/"+escapeName(r.Name), r.values(), nil, &g)
}

func (c *Client) DeleteGroup(ctx context.Context, r Ref) error {
	return c.call(ctx, "DELETE", "/v1/groups/"+escapeName(r.Name), r.values(), nil, nil)
}

func (c *Client) Retained(ctx context.Context, q Query, filter string) (ms []Message, err error) {
	v := q.values()
	set(v, "filter", filter)
	return ms, c.call(ctx, "GET", "/v1/retained", v, nil, &ms)
}

func (c *Client) Nodes(ctx context.Context) (ns []Node, err error) {
	return ns, c.call(ctx, "GET", "/v1/nodes", nil, nil, &ns)
}

func (c *Client) Shards(ctx context.Context) (ss []Shard, err error) {
	return ss, c.call(ctx, "GET", "/v1/shards", nil, nil, &ss)
}

func (c *Client) Moves(ctx context.Context) (ms []Move, err error) {
	return ms, c.call(ctx, "GET", "/v1/moves", nil, nil, &ms)
}

func (c *Client) DrainNode(ctx context.Context, id uint64, force bool) (n Node, err error) {
	return n, c.call(ctx, "POST", nodePath(id)+"/drain", forced(force), nil, &n)
}

func (c *Client) FillNode(ctx context.Context, id uint64) (n Node, err error) {
	return n, c.call(ctx, "POST", nodePath(id)+"/fill", nil, nil, &n)
}

func (c *Client) RemoveNode(ctx context.Context, id uint64, force bool) (n Node, err error) {
	return n, c.call(ctx, "DELETE", nodePath(id), forced(force), nil, &n)
}

func nodePath(id uint64) string { return "/v1/nodes/" + strconv.FormatUint(id, 10) }

func forced(force bool) url.Values {
	if force {
		return url.Values{"force": {"1"}}
	}
	return nil
}

func (c *Client) Namespaces(ctx context.Context) (ns []Namespace, err error) {
	return ns, c.call(ctx, "GET", "/v1/namespaces", nil, nil, &ns)
}

func (c *Client) Namespace(ctx context.Context, name string) (n Namespace, err error) {
	return n, c.call(ctx, "GET", "/v1/namespace", Ref{Namespace: name}.values(), nil, &n)
}

func (c *Client) CreateNamespace(ctx context.Context, s NamespaceSpec) (n Namespace, err error) {
	return n, c.call(ctx, "POST", "/v1/namespaces", nil, s, &n)
}

func (c *Client) AlterNamespace(ctx context.Context, s NamespaceSpec) (n Namespace, err error) {
	return n, c.call(ctx, "PATCH", "/v1/namespace", Ref{Namespace: s.Name}.values(), s, &n)
}

func (c *Client) Users(ctx context.Context) (us []User, err error) {
	return us, c.call(ctx, "GET", "/v1/users", nil, nil, &us)
}

func (c *Client) User(ctx context.Context, name string) (u User, err error) {
	return u, c.call(ctx, "GET", "/v1/users/"+escapeName(name), nil, nil, &u)
}

func (c *Client) PutUser(ctx context.Context, s UserSpec) (u User, err error) {
	return u, c.call(ctx, "PUT", "/v1/users/"+escapeName(s.Name), nil, s, &u)
}

func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", "/v1/users/"+escapeName(name), nil, nil, nil)
}

func (c *Client) Rules(ctx context.Context) (rules []acl.Rule, err error) {
	return rules, c.call(ctx, "GET", "/v1/acl", nil, nil, &rules)
}

func (c *Client) PutRules(ctx context.Context, rules []acl.Rule) (int, error) {
	var r RulesChanged
	err := c.call(ctx, "POST", "/v1/acl", nil, rules, &r)
	return r.Changed, err
}

func (c *Client) DeleteRules(ctx context.Context, rules []acl.Rule) (int, error) {
	var r RulesChanged
	err := c.call(ctx, "POST", "/v1/acl/remove", nil, rules, &r)
	return r.Changed, err
}

func (c *Client) TestAccess(ctx context.Context, q AccessQuestion) (v acl.Verdict, err error) {
	return v, c.call(ctx, "POST", pathTestAccess, nil, q, &v)
}

func settingPath(kind setting.Kind) string { return "/v1/settings/" + url.PathEscape(string(kind)) }

func (c *Client) Settings(ctx context.Context, namespace string, kind setting.Kind) (all []setting.Setting, err error) {
	return all, c.call(ctx, "GET", settingPath(kind), Ref{Namespace: namespace}.values(), nil, &all)
}

func (c *Client) PutSetting(ctx context.Context, s setting.Setting) (out setting.Setting, err error) {
	return out, c.call(ctx, "PUT", settingPath(s.Kind)+"/"+escapeName(s.Name), Ref{Namespace: s.Namespace}.values(), s.Value, &out)
}

func (c *Client) DeleteSetting(ctx context.Context, namespace string, kind setting.Kind, name string) error {
	return c.call(ctx, "DELETE", settingPath(kind)+"/"+escapeName(name), Ref{Namespace: namespace}.values(), nil, nil)
}

func (c *Client) Bridges(ctx context.Context) (all []Bridge, err error) {
	return all, c.call(ctx, "GET", "/v1/bridges", nil, nil, &all)
}

func (c *Client) Bridge(ctx context.Context, name string) (b Bridge, err error) {
	return b, c.call(ctx, "GET", "/v1/bridges/"+escapeName(name), nil, nil, &b)
}

func (c *Client) AddBridge(ctx context.Context, s BridgeSpec) (b Bridge, err error) {
	return b, c.call(ctx, "POST", "/v1/bridges", nil, s, &b)
}

func (c *Client) RemoveBridge(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", "/v1/bridges/"+escapeName(name), nil, nil, nil)
}

func (c *Client) PauseBridge(ctx context.Context, name string, paused bool) (b Bridge, err error) {
	verb := "resume"
	if paused {
		verb = "pause"
	}
	return b, c.call(ctx, "POST", "/v1/bridges/"+escapeName(name)+"/"+verb, nil, nil, &b)
}

func (c *Client) Bans(ctx context.Context) (bans []acl.Ban, err error) {
	return bans, c.call(ctx, "GET", "/v1/bans", nil, nil, &bans)
}

func (c *Client) PutBan(ctx context.Context, b acl.Ban) (put acl.Ban, err error) {
	return put, c.call(ctx, "POST", "/v1/bans", nil, b, &put)
}

func (c *Client) DeleteBan(ctx context.Context, b acl.Ban) error {
	return c.call(ctx, "POST", "/v1/bans/remove", nil, b, nil)
}

func (c *Client) Options(ctx context.Context) (all []Option, err error) {
	return all, c.call(ctx, "GET", "/v1/options", nil, nil, &all)
}

func (c *Client) ChangeOptions(ctx context.Context, s OptionsChange) (all []Option, err error) {
	return all, c.call(ctx, "PATCH", "/v1/options", nil, s, &all)
}

func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, "POST", "/v1/shutdown", nil, nil, nil)
}

// Watch calls emit with an overview every interval, rates included, until ctx
// ends (nil), emit fails (its error) or the broker goes ("unreachable").
func (c *Client) Watch(ctx context.Context, interval time.Duration, emit func(Overview) error) error {
	v := url.Values{}
	if interval > 0 {
		v.Set("interval", interval.String())
	}
	return stream(ctx, c, "/v1/watch", v, func(line struct {
		Overview
		Error *Error `json:"error"`
	}) error {
		if line.Error != nil {
			return line.Error
		}
		return emit(line.Overview)
	})
}

func (c *Client) Live(ctx context.Context, q LiveQuery, emit func(LiveEvent) error) error {
	v := url.Values{}
	set(v, "namespace", q.Namespace)
	set(v, "filter", q.Filter)
	set(v, "protocol", q.Protocol)
	set(v, "contains", q.Contains)
	set(v, "where", q.Where)
	number(v, "body_max", q.BodyMax)
	number(v, "rate_max", q.RateMax)
	return stream(ctx, c, "/v1/live", v, func(line struct {
		LiveEvent
		Error *Error `json:"error"`
	}) error {
		if line.Error != nil {
			return line.Error
		}
		return emit(line.LiveEvent)
	})
}

// Trace shows what a node sees of clients and does for them.
func (c *Client) Trace(ctx context.Context, q TraceQuery, emit func(TraceLine) error) error {
	v := url.Values{}
	set(v, "client", q.Client)
	set(v, "topic", q.Topic)
	set(v, "ip", q.IP)
	set(v, "mark", q.Mark)
	number(v, "count", q.Count)
	number(v, "bytes", q.Bytes)
	if q.For > 0 {
		v.Set("for", q.For.String())
	}
	over := errors.New("the trace is over")
	err := stream(ctx, c, "/v1/trace", v, func(line struct {
		TraceLine
		Error *Error `json:"error"`
	}) error {
		if line.Error != nil {
			return line.Error
		}
		if err := emit(line.TraceLine); err != nil {
			return err
		}
		if line.End != "" {
			return over
		}
		return nil
	})
	if errors.Is(err, over) {
		return nil
	}
	return err
}

// stream reads NDJSON until ctx ends (nil), emit fails or the stream does.
func stream[T any](ctx context.Context, c *Client, path string, v url.Values, emit func(T) error) error {
	resp, err := c.do(ctx, "GET", path, v, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, err := c.envelope(resp)
		return err
	}
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(make([]byte, 0, 64<<10), lineMax)
	for sc.Scan() && ctx.Err() == nil { // what was read after the end may be cut short
		var line T
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			return c.unreachable(fmt.Errorf("it answered a line that is not ours: %w", err))
		}
		if err := emit(line); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := sc.Err(); err != nil {
		return c.unreachable(err)
	}
	return c.unreachable(io.ErrUnexpectedEOF)
}

func (c *Client) count(ctx context.Context, method, path string, v url.Values) (int64, error) {
	var d Done
	if err := c.call(ctx, method, path, v, nil, &d); err != nil || d.Messages == nil {
		return 0, err
	}
	return *d.Messages, nil
}

// call does one exchange: in (when not nil) as the body, the envelope's data into out
// (when not nil).
func (c *Client) call(ctx context.Context, method, path string, v url.Values, in, out any) error {
	_, err := c.exchange(ctx, method, path, v, in, out)
	return err
}

// exchange is call that returns what else the envelope has.
func (c *Client) exchange(ctx context.Context, method, path string, v url.Values, in, out any) (Envelope, error) {
	resp, err := c.do(ctx, method, path, v, in)
	if err != nil {
		return Envelope{}, err
	}
	defer resp.Body.Close()
	env, err := c.envelope(resp)
	if err != nil || out == nil {
		return env, err
	}
	if err := json.Unmarshal(env.Data, out); err != nil {
		return env, c.unreachable(fmt.Errorf("it answered %s in a form this release does not know: %w", env.Schema, err))
	}
	return env, nil
}

func (c *Client) do(ctx context.Context, method, path string, v url.Values, in any) (*http.Response, error) {
	if in == nil {
		return c.send(ctx, method, path, v, "", nil)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, path, v, "application/json", bytes.NewReader(b))
}

// send is do with a body of any type; nil: none.
func (c *Client) send(ctx context.Context, method, path string, v url.Values, contentType string, body io.Reader) (*http.Response, error) {
	target := c.base + path
	if len(v) > 0 {
		target += "?" + v.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.user != nil {
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.unreachable(err)
	}
	return resp, nil
}

// envelope reads an answer, and returns its error if it holds one.
func (c *Client) envelope(resp *http.Response) (Envelope, error) {
	var env Envelope
	if err := json.NewDecoder(resp.Body).Decode(&env); err != nil || env.Schema == "" {
		return env, c.unreachable(fmt.Errorf("it answered %s, not as rmq does", resp.Status))
	}
	if env.Error != nil {
		return env, env.Error
	}
	return env, nil
}

func (c *Client) unreachable(err error) error {
	if own, ok := errors.AsType[*Error](err); ok { // the transport has its reason not to ask
		return own
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // the method and address say nothing that the message does not
	}
	return &Error{
		Code: CodeUnreachable, Category: CategoryUnavailable, Retryable: true,
		Message: fmt.Sprintf("no answer from %s: %v", c.base, err),
	}
}

func (q Query) values() url.Values {
	v := url.Values{}
	set(v, "namespace", q.Namespace)
	set(v, "prefix", q.Prefix)
	set(v, "after", q.After)
	number(v, "limit", q.Limit)
	return v
}

func (r Ref) values() url.Values {
	v := url.Values{}
	set(v, "namespace", r.Namespace)
	set(v, "spelling", r.Spelling)
	return v
}

func exchangeName(r Ref) string {
	if r.Name == "" {
		return defaultExchangePath
	}
	return escapeName(r.Name)
}

func set(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

func number(v url.Values, name string, value int) {
	if value != 0 {
		v.Set(name, strconv.Itoa(value))
	}
}

func flag(v url.Values, name string, on bool) {
	if on {
		v.Set(name, "true")
	}
}
