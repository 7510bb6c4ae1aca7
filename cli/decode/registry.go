package decode

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// registry is a schema registry with Confluent's API. Values written by its clients begin
// with a magic byte and the id of a schema:
//
//	0      1              5
//	┌──────┬──────────────┬───────────────────────────────┐
//	│ 0x00 │ schema id    │ value (Protobuf: which of the │
//	│      │ u32, big     │ messages first)               │
//	└──────┴──────────────┴───────────────────────────────┘
type registry struct {
	url     *url.URL
	http    *http.Client
	schemas map[uint32]*schema
}

// schema is one of the registry, or why there is none.
type schema struct {
	avro  *avroType
	proto protoreflect.FileDescriptor
	err   error
	tried time.Time
}

const (
	registryWait  = 10 * time.Second
	registryRetry = 10 * time.Second // after a failure
	schemasMax    = 10_000
	referencesMax = 100
)

func newRegistry(at string, c *http.Client) (*registry, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL of a schema registry, such as http://host:8081", at)
	}
	if c == nil {
		c = &http.Client{Timeout: registryWait}
	}
	return &registry{url: u, http: c, schemas: map[uint32]*schema{}}, nil
}

// framed tells whether a value begins as a client of a registry writes it.
func framed(value []byte) bool { return len(value) >= 5 && value[0] == 0 }

func (r *registry) decode(ctx context.Context, b *budget, value []byte) (any, error) {
	id := binary.BigEndian.Uint32(value[1:5])
	s, err := r.schema(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	rest := value[5:]
	switch {
	case s.avro != nil:
		return decodeAvro(b, s.avro, rest)
	case s.proto != nil:
		m, rest, err := messageAt(s.proto, rest)
		if err != nil {
			return nil, err
		}
		return (&protoType{message: m}).decode(rest)
	}
	if !json.Valid(rest) {
		return nil, errors.New("it is no JSON, though its schema is of JSON")
	}
	return json.RawMessage(rest), nil
}

// messageAt reads which message of a file a value is: places, from the outermost in.
func messageAt(f protoreflect.FileDescriptor, src []byte) (protoreflect.MessageDescriptor, []byte, error) {
	n, err := avroLong(&src) // the same encoding of numbers
	if err != nil {
		return nil, nil, err
	}
	places := []int64{0} // 0 places mean the first message
	if n != 0 {
		if n < 0 || n > depthMax {
			return nil, nil, errDepth
		}
		places = places[:0]
		for range n {
			p, err := avroLong(&src)
			if err != nil {
				return nil, nil, err
			}
			places = append(places, p)
		}
	}
	of := f.Messages()
	var m protoreflect.MessageDescriptor
	for _, p := range places {
		if p < 0 || p >= int64(of.Len()) {
			return nil, nil, fmt.Errorf("its schema has no message %d", p)
		}
		m = of.Get(int(p))
		of = m.Messages()
	}
	return m, src, nil
}

// schema returns a schema by its id, asking the registry once.
func (r *registry) schema(ctx context.Context, id uint32) (*schema, error) {
	if s := r.schemas[id]; s != nil && (s.err == nil || time.Since(s.tried) < registryRetry) {
		return s, s.err
	}
	s := &schema{tried: time.Now()}
	s.err = r.load(ctx, id, s)
	if len(r.schemas) >= schemasMax {
		clear(r.schemas)
	}
	r.schemas[id] = s
	return s, s.err
}

// answer is a schema as the registry gives it.
type answer struct {
	Type       string      `json:"schemaType"`
	Schema     string      `json:"schema"`
	References []reference `json:"references"`
}

type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

func (r *registry) load(ctx context.Context, id uint32, s *schema) error {
	var a answer
	if err := r.get(ctx, fmt.Sprintf("schemas/ids/%d", id), &a); err != nil {
		return err
	}
	refs := map[string]string{}
	var order []string
	if err := r.references(ctx, a.References, refs, &order); err != nil {
		return err
	}
	switch a.Type {
	case "", "AVRO":
		known := map[string]*avroType{}
		for _, name := range order {
			_, names, err := parseAvro(refs[name], known)
			if err != nil {
				return err
			}
			known = names
		}
		var err error
		s.avro, _, err = parseAvro(a.Schema, known)
		return err
	case "PROTOBUF":
		const root = "schema.proto"
		refs[root] = a.Schema
		c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(refs)})}
		files, err := c.Compile(ctx, root)
		if err != nil {
			return fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		s.proto = files[0]
		return nil
	case "JSON":
		return nil
	}
	return fmt.Errorf("%s is no kind of schema that is known here", a.Type)
}

// references gets what a schema refers to, what it refers to itself first.
func (r *registry) references(ctx context.Context, refs []reference, into map[string]string, order *[]string) error {
	for _, ref := range refs {
		if _, ok := into[ref.Name]; ok {
			continue
		}
		if len(into) == referencesMax {
			return fmt.Errorf("it refers to more than %d others", referencesMax)
		}
		var a answer
		if err := r.get(ctx, fmt.Sprintf("subjects/%s/versions/%d", url.PathEscape(ref.Subject), ref.Version), &a); err != nil {
			return err
		}
		into[ref.Name] = a.Schema
		if err := r.references(ctx, a.References, into, order); err != nil {
			return err
		}
		*order = append(*order, ref.Name)
	}
	return nil
}

func (r *registry) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	u := strings.TrimSuffix(r.url.Scheme+"://"+r.url.Host+r.url.EscapedPath(), "/") + "/" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	if r.url.User != nil {
		password, _ := r.url.User.Password()
		req.SetBasicAuth(r.url.User.Username(), password)
	}
	req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL may hold a password
		}
		return fmt.Errorf("the registry does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read only
	body, err := io.ReadAll(io.LimitReader(resp.Body, schemaMax+1))
	switch {
	case err != nil:
		return err
	case len(body) > schemaMax:
		return fmt.Errorf("a schema is at most %d bytes", schemaMax)
	case resp.StatusCode == http.StatusNotFound:
		return errors.New("the registry does not have it")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the registry answers %s", resp.Status)
	}
	return json.Unmarshal(body, v)
}
