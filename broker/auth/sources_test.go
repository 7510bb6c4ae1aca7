package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// Hashes that others have made.
const (
	mosquitto7  = "$7$101$FRuhs5Dc6wb23zpU$j9T29yKOvDZUiKioP00Er1zXBqWiH6YPwSWbyMFl/7FbyJn404vBY1dcNHwMaUXHffrSDBBE8ZNpUCX0A5jC7g==" // secret
	mosquitto6  = "$6$GfDN0pR51gRkgnt8$kaAR69HzWRUjWcefMa9m3e6RiX521NCEvTOdzaBM2VxFVyU989PQZdev2GDs6CDKWT6DWgQfxYiN9F+1bv0+Fg=="     // hunter2
	argonOthers = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"                             // password, of the reference implementation's tests
)

func TestHashes(t *testing.T) {
	bcrypted := must(bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost))
	for hash, password := range map[string]string{
		mosquitto7: "secret", mosquitto6: "hunter2", argonOthers: "password", string(bcrypted): "password", string(makeHash("pässword", cheap)): "pässword",
	} {
		if err := CheckHash([]byte(hash)); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
		if !rightPassword([]byte(hash), password) {
			t.Errorf("%s: %q is wrong", hash, password)
		}
		if rightPassword([]byte(hash), password+"x") || rightPassword([]byte(hash), "") {
			t.Errorf("%s: another password is right", hash)
		}
	}
	for _, bad := range []string{
		"", "secret", "$1$x$y", "$7$0$FRuhs5Dc6wb23zpU$AAAA", "$7$99999999$FRuhs5Dc6wb23zpU$AAAA", "$6$x", "$6$!!$??", "$2y$31$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe",
		"$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$", strings.Replace(mosquitto7, "j9T29yKO", "", 1), strings.Repeat("$", hashMax+1),
	} {
		if CheckHash([]byte(bad)) == nil {
			t.Errorf("%q is taken for a hash", bad)
		}
		if rightPassword([]byte(bad), "secret") {
			t.Errorf("%q is the hash of a password", bad)
		}
	}
}

func TestImportedHashesLetIn(t *testing.T) {
	a, _ := with(t)
	for user, hash := range map[string]string{"ann": mosquitto7, "bob": mosquitto6} {
		if err := a.PutHash(context.Background(), user, []byte(hash), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.PutHash(context.Background(), "eve", []byte("plain"), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a password for a hash: %v", err)
	}
	if id, err := a.Authenticate(Login{User: "bob", Password: "hunter2", Remote: there}); err != nil || id.User != "bob" {
		t.Errorf("%v, %v", id, err)
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "hunter2", Remote: there}); err == nil {
		t.Error("let in with another's password")
	}
}

func TestWhoGuessesIsSlowedDown(t *testing.T) {
	a, _ := with(t, "ann", "bob")
	clk := a.guesses.clock.(*clock.Virtual)
	guess := func(user, password string) error {
		_, err := a.Authenticate(Login{User: user, Password: password, Remote: there})
		return err
	}
	for i := range guessesFree + 1 {
		if err := guess("ann", fmt.Sprint("guess", i)); !fault.Is(err, fault.Unauthorized) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := guess("ann", "secret of ann"); !fault.Is(err, fault.Exhausted) {
		t.Errorf("the right one at once: %v", err)
	}
	if err := guess("bob", "secret of bob"); err != nil {
		t.Errorf("another user of that address: %v", err)
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: here}); err != nil {
		t.Errorf("the same user of another address: %v", err)
	}
	if err := guess("ann", "secret of ann"); err != nil {
		t.Errorf("a password that was checked before: %v", err)
	}
	for i := range 20 { // it never gets longer than guessWaitMax
		clk.Advance(guessWaitMax)
		if err := guess("ann", fmt.Sprint("more", i)); !fault.Is(err, fault.Unauthorized) {
			t.Fatalf("guess %d after a while: %v", i, err)
		}
	}
}

func TestGuessersAreBounded(t *testing.T) {
	g := throttle{clock: clock.NewVirtual(time.Unix(1, 0)), wrong: make(map[fingerprint]guesser)}
	for i := range guessersMax + 10 {
		g.told(fingerprint{byte(i), byte(i >> 8), byte(i >> 16)}, false)
	}
	if len(g.wrong) > guessersMax {
		t.Errorf("%d are remembered", len(g.wrong))
	}
}

// configured returns an Auth over a configuration, and its time.
func configured(t *testing.T, cfg Config, users ...string) (*Auth, *clock.Virtual) {
	t.Helper()
	a, _ := with(t, users...)
	clk := a.guesses.clock.(*clock.Virtual)
	if err := a.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	return a, clk
}

func TestPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# users\nann:" + mosquitto7 + "\n\n")
	a, clk := configured(t, Config{File: &FileConfig{Path: path}}, "carl")
	in := func(user, password string) bool {
		_, err := a.Authenticate(Login{User: user, Password: password, Remote: there})
		return err == nil
	}
	if !in("ann", "secret") || in("ann", "x") || in("bob", "hunter2") {
		t.Error("the file's users")
	}
	if !in("carl", "secret of carl") || in("carl", "secret") {
		t.Error("users of the table, behind the file")
	}
	write("bob:" + mosquitto6 + "\nann:" + mosquitto6)
	clk.Advance(2 * lookEvery)
	if !in("bob", "hunter2") || !in("ann", "hunter2") || in("ann", "secret") {
		t.Error("the file as it is by now")
	}
	write("rubbish and more of it than before, so that it has another size ......................................................................................")
	clk.Advance(2 * lookEvery)
	if !in("bob", "hunter2") {
		t.Error("a file that cannot be read any more has thrown everybody out")
	}
	if err := a.Configure(Config{File: &FileConfig{Path: path}}); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a file of rubbish: %v", err)
	}
}

func TestCertificates(t *testing.T) {
	cert := &x509.Certificate{Raw: []byte("raw"), Subject: pkix.Name{CommonName: "dev1"}, DNSNames: []string{"dev1.example"}, EmailAddresses: []string{"a@b"}}
	for user, want := range map[string]string{
		"": "dev1", "cn": "dev1", "san-dns": "dev1.example", "san-email": "a@b", "san-uri": "", "subject": "CN=dev1",
		"fingerprint": fmt.Sprintf("%x", sha256.Sum256([]byte("raw"))),
	} {
		a, _ := configured(t, Config{Certificate: &CertificateConfig{User: user}}, "ann")
		id, err := a.Authenticate(Login{User: "somebody", Remote: there, Certificate: cert, CommonName: "dev1"})
		if id.User != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", user, id.User, err)
		}
		if id, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); err != nil || id.User != "ann" {
			t.Errorf("%q: without a certificate: %v, %v", user, id, err)
		}
	}
	a, _ := with(t)
	if a.Configure(Config{Certificate: &CertificateConfig{User: "dn"}}) == nil {
		t.Error("a field that there is not")
	}
}

// ---- tokens ----------------------------------------------------------------------

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a token.
func sign(t *testing.T, alg, kid string, k any, claims map[string]any) string {
	t.Helper()
	h, _ := json.Marshal(map[string]string{"alg": alg, "kid": kid, "typ": "JWT"})
	p, _ := json.Marshal(claims)
	text := b64(h) + "." + b64(p)
	var sum []byte
	a := algorithms[alg]
	if a.hash != 0 {
		d := a.hash.New()
		d.Write([]byte(text))
		sum = d.Sum(nil)
	}
	var sig []byte
	var err error
	switch k := k.(type) {
	case nil:
	case []byte:
		m := hmac.New(a.hash.New, k)
		m.Write([]byte(text))
		sig = m.Sum(nil)
	case *rsa.PrivateKey:
		if a.kind == "PSS" {
			sig, err = rsa.SignPSS(rand.Reader, k, a.hash, sum, nil)
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, k, a.hash, sum)
		}
	case *ecdsa.PrivateKey:
		n := (k.Params().BitSize + 7) / 8
		r, s, e := ecdsa.Sign(rand.Reader, k, sum)
		sig, err = make([]byte, 2*n), e
		r.FillBytes(sig[:n])
		s.FillBytes(sig[n:])
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

func pemOf(t *testing.T, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	secret := []byte("a secret of at least 32 bytes, as it must be")
	rsaKey, rsaOther := must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 2048))
	ec256, ec384, ec521 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	var keys []byte
	for _, k := range []crypto.PublicKey{&rsaKey.PublicKey, &ec256.PublicKey, &ec384.PublicKey, &ec521.PublicKey, ed.Public()} {
		keys = append(keys, pemOf(t, k)...)
	}
	secretFile, keyFile := filepath.Join(dir, "secret"), filepath.Join(dir, "keys.pem")
	if err := os.WriteFile(secretFile, append(secret, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	a, clk := configured(t, Config{JWT: &JWTConfig{
		SecretFile: secretFile, KeyFile: keyFile, Issuer: "iss", Audience: "rmq", Client: "client_id", Super: "admin",
	}}, "ann")
	now := clk.Now().Unix()
	claims := func(change ...any) map[string]any {
		c := map[string]any{"sub": "dev1", "iss": "iss", "aud": []string{"x", "rmq"}, "exp": now + 60, "client_id": "c1"}
		for i := 0; i < len(change); i += 2 {
			if c[change[i].(string)] = change[i+1]; change[i+1] == nil {
				delete(c, change[i].(string))
			}
		}
		return c
	}
	ask := func(token string) (Identity, error) {
		return a.Authenticate(Login{Password: token, Client: "c1", Protocol: "mqtt", Remote: there})
	}
	for alg, k := range map[string]any{
		"HS256": secret, "HS384": secret, "HS512": secret, "RS256": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey,
		"ES256": ec256, "ES384": ec384, "ES512": ec521, "EdDSA": ed,
	} {
		id, err := ask(sign(t, alg, "", k, claims("admin", true)))
		if err != nil || id.User != "dev1" || !id.Super || !id.Expires.Equal(time.Unix(now+60, 0).Add(skewDefault)) {
			t.Errorf("%s: %+v, %v", alg, id, err)
		}
	}
	good := sign(t, "RS256", "", rsaKey, claims())
	for name, token := range map[string]string{
		"none":                           sign(t, "none", "", nil, claims()),
		"the public key as a secret":     sign(t, "HS256", "", pemOf(t, &rsaKey.PublicKey), claims()),
		"another's key":                  sign(t, "RS256", "", rsaOther, claims()),
		"another curve":                  sign(t, "ES384", "", ec256, claims()),
		"a signature that is cut":        good[:len(good)-4],
		"claims that were exchanged":     strings.Join([]string{strings.Split(good, ".")[0], b64([]byte(`{"sub":"root"}`)), strings.Split(good, ".")[2]}, "."),
		"expired":                        sign(t, "RS256", "", rsaKey, claims("exp", now-31)),
		"no expiry":                      sign(t, "RS256", "", rsaKey, claims("exp", nil)),
		"an expiry that is none":         sign(t, "RS256", "", rsaKey, claims("exp", "soon")),
		"an expiry beyond time":          sign(t, "RS256", "", rsaKey, claims("exp", 1e300)),
		"from tomorrow on":               sign(t, "RS256", "", rsaKey, claims("nbf", now+31)),
		"another issuer":                 sign(t, "RS256", "", rsaKey, claims("iss", "x")),
		"another audience":               sign(t, "RS256", "", rsaKey, claims("aud", "x")),
		"another client":                 sign(t, "RS256", "", rsaKey, claims("client_id", "c2")),
		"no client":                      sign(t, "RS256", "", rsaKey, claims("client_id", nil)),
		"no user":                        sign(t, "RS256", "", rsaKey, claims("sub", nil)),
		"a user name with a line break":  sign(t, "RS256", "", rsaKey, claims("sub", "a\nb")),
		"not a token, and no password":   "a.b.c",
		"a token of the size of a novel": sign(t, "RS256", "", rsaKey, claims("x", strings.Repeat("x", tokenMax))),
	} {
		if id, err := ask(token); err == nil {
			t.Errorf("%s: let in as %q", name, id.User)
		} else if !fault.Is(err, fault.Unauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ask(sign(t, "RS256", "", rsaKey, claims("exp", now-29, "nbf", now+29, "aud", "rmq"))); err != nil {
		t.Errorf("clocks that differ: %v", err)
	}
	if _, err := a.Authenticate(Login{User: "eve", Password: good, Client: "c1", Protocol: "mqtt", Remote: there}); err == nil {
		t.Error("let in with another's token")
	}
	if id, err := a.Authenticate(Login{User: "dev1", Password: good, Protocol: "kafka", Remote: there}); err != nil || id.User != "dev1" {
		t.Errorf("a protocol without client ids: %v, %v", id, err)
	}
	if id, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); err != nil || id.User != "ann" {
		t.Errorf("a password: %v, %v", id, err)
	}
}

func TestTokensByKeySet(t *testing.T) {
	one, two := must(rsa.GenerateKey(rand.Reader, 2048)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsaJWK := map[string]any{"kty": "RSA", "kid": "one", "n": b64(one.N.Bytes()), "e": "AQAB"}
	ecJWK := map[string]any{"kty": "EC", "crv": "P-256", "kid": "two", "use": "sig", "x": b64(two.X.FillBytes(make([]byte, 32))), "y": b64(two.Y.FillBytes(make([]byte, 32)))}
	offCurve := map[string]any{"kty": "EC", "crv": "P-256", "kid": "bad", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}
	var asked atomic.Int32
	var set atomic.Value
	set.Store([]any{rsaJWK, offCurve, map[string]any{"kty": "weird"}})
	var down atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if down.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set.Load()})
	}))
	defer srv.Close()
	a, clk := configured(t, Config{JWT: &JWTConfig{JWKS: srv.URL, Expiry: "ignore"}})
	in := func(kid, alg string, k any) error {
		_, err := a.Authenticate(Login{Password: sign(t, alg, kid, k, map[string]any{"sub": "dev1", "exp": clk.Now().Unix() + 60}), Remote: there})
		return err
	}
	for range 3 {
		if err := in("one", "RS256", one); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for what it has", n)
	}
	set.Store([]any{ecJWK})
	if err := in("two", "ES256", two); err == nil {
		t.Error("a key that it cannot have heard of")
	}
	clk.Advance(refreshMin)
	if err := in("two", "ES256", two); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if err := in("one", "RS256", one); err == nil {
		t.Error("a key that was withdrawn")
	}
	down.Store(true)
	clk.Advance(refreshDefault)
	if err := in("two", "ES256", two); err != nil {
		t.Errorf("while the set cannot be had, the old one: %v", err)
	}

	fresh, _ := configured(t, Config{JWT: &JWTConfig{JWKS: srv.URL}})
	if _, err := fresh.Authenticate(Login{Password: sign(t, "RS256", "one", one, map[string]any{"sub": "x", "exp": 2e9}), Remote: there}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without any keys: %v", err)
	}
}

// ---- over HTTP ---------------------------------------------------------------------

func TestHook(t *testing.T) {
	var mu sync.Mutex
	var last hookQuestion
	asked := 0
	answer, status := `{"result":"ignore"}`, http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		last = hookQuestion{}
		if r.Header.Get("X-Key") != "k" || json.NewDecoder(r.Body).Decode(&last) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer srv.Close()
	says := func(s int, text string) {
		mu.Lock()
		defer mu.Unlock()
		status, answer = s, text
	}
	a, clk := configured(t, Config{HTTP: &HTTPConfig{URL: srv.URL, Headers: map[string]string{"X-Key": "k"}, Cache: Duration(time.Minute)}}, "ann")
	n := 0
	ask := func(user, password string) (Identity, error) {
		n++
		return a.Authenticate(Login{User: user, Password: password, Client: fmt.Sprint("c", n), Protocol: "mqtt", Remote: there})
	}
	if id, err := ask("ann", "secret of ann"); err != nil || id.User != "ann" {
		t.Errorf("ignored: %v, %v", id, err)
	}
	if last.Username != "ann" || last.Password != "secret of ann" || last.ClientID != "c1" || last.Protocol != "mqtt" || last.Address != there.String() {
		t.Errorf("it was asked %+v", last)
	}
	says(http.StatusOK, `{"result":"allow","username":"real","superuser":true,"expires_in":30}`)
	if id, err := ask("dev", "x"); err != nil || id.User != "real" || !id.Super || !id.Expires.Equal(clk.Now().Add(30*time.Second)) {
		t.Errorf("allowed: %+v, %v", id, err)
	}
	says(http.StatusOK, `{"result":"deny"}`)
	if _, err := ask("ann", "secret of ann"); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("denied: %v", err)
	}
	for what, s := range map[string]int{"rubbish": 200, `{"result":"maybe"}`: 200, "x": 500, "moved": 302} {
		says(s, what)
		if _, err := ask("ann", "secret of ann"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%d %s: %v", s, what, err)
		}
	}
	says(http.StatusNoContent, "")
	if _, err := ask("ann", "secret of ann"); err != nil {
		t.Errorf("204: %v", err)
	}

	// What was answered is remembered for as long as it holds, for exactly that question.
	says(http.StatusOK, `{"result":"allow","cache":10}`)
	one := Login{User: "u", Password: "p", Client: "c", Protocol: "mqtt", Remote: there}
	before := asked
	for range 3 {
		if _, err := a.Authenticate(one); err != nil {
			t.Fatal(err)
		}
	}
	if asked != before+1 {
		t.Errorf("asked %d times within what the answer holds for", asked-before)
	}
	other := one
	other.Password = "q"
	_, _ = a.Authenticate(other)
	clk.Advance(10 * time.Second)
	_, _ = a.Authenticate(one)
	if asked != before+3 {
		t.Errorf("asked %d times, want 3", asked-before)
	}
}

// Who waits for a service that hangs holds up nobody who is known otherwise, and no more wait
// than there is room for.
func TestAHookThatHangs(t *testing.T) {
	hang := make(chan struct{})
	entered := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-hang
	}))
	defer srv.Close()
	a, _ := configured(t, Config{Order: []string{"users", "http"}, HTTP: &HTTPConfig{URL: srv.URL, Concurrency: 1}}, "ann")
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer close(hang)
	errs := make(chan error, 100)
	for i := range 1 + hookWaiting {
		waiting.Go(func() {
			_, err := a.Authenticate(Login{User: fmt.Sprint("dev", i), Password: "x", Remote: there})
			errs <- err
		})
	}
	<-entered
	s := (*a.sources.Load())[1].(*hookSource)
	for len(s.queue) < cap(s.queue) {
		select {
		case err := <-errs:
			t.Fatalf("answered: %v", err)
		default:
			runtime.Gosched()
		}
	}
	if _, err := a.Authenticate(Login{User: "one too many", Password: "x", Remote: there}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := a.Authenticate(Login{User: "ann", Password: "secret of ann", Remote: there}); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	if len(entered) != 0 {
		t.Error("more requests at a time than it may have")
	}
}

func TestParseConfig(t *testing.T) {
	cfg, err := ParseConfig([]byte(`{"order":["jwt"],"jwt":{"jwks":"https://x/keys","refresh":"1h"},"http":{"url":"http://x","cache":"30s"},"certificate":{"user":"san-dns"}}`))
	if err != nil || time.Duration(cfg.JWT.Refresh) != time.Hour || time.Duration(cfg.HTTP.Cache) != 30*time.Second || cfg.Certificate.User != "san-dns" {
		t.Errorf("%+v, %v", cfg, err)
	}
	for _, bad := range []string{`{"jwt":{"secrets":"x"}}`, `{"http":{"timeout":"soon"}}`, `[]`} {
		if _, err := ParseConfig([]byte(bad)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	a, _ := with(t)
	for _, bad := range []Config{
		{Order: []string{"magic"}}, {Order: []string{"users", "users"}}, {JWT: &JWTConfig{}}, {JWT: &JWTConfig{JWKS: "x", From: "cookie"}},
		{JWT: &JWTConfig{JWKS: "x", Algorithms: []string{"none"}}}, {HTTP: &HTTPConfig{URL: "x"}}, {HTTP: &HTTPConfig{URL: "http://x", Down: "allow"}},
		{File: &FileConfig{Path: "/not/there"}},
	} {
		if err := a.Configure(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if a.Guards() != 0 {
		t.Error("a configuration that was refused guards")
	}
}
