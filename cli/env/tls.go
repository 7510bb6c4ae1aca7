package env

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"
)

// TLS is the flags by which commands that speak a broker's protocols know who answers over TLS.
type TLS struct {
	cacert    string
	cert, key string
	insecure  bool
}

// Flags adds them.
func (t *TLS) Flags(f *pflag.FlagSet) {
	f.StringVar(&t.cacert, "cacert", "", "file with the certificates to trust, for TLS")
	f.StringVar(&t.cert, "cert", "", "file with the certificate to show, for TLS")
	f.StringVar(&t.key, "cert-key", "", "file with the key of --cert (default: it is in the file of the certificate)")
	for _, name := range []string{"cacert", "cert", "cert-key"} {
		_ = f.SetAnnotation(name, PathAnnotation, []string{"true"}) // fails for unknown flags only
	}
	f.BoolVar(&t.insecure, "insecure", false, "over TLS, do not check who answers")
}

// Config reads the certificates.
func (t *TLS) Config() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: t.insecure} // asked for by name
	if t.cacert != "" {
		pem, err := os.ReadFile(t.cacert)
		if err != nil {
			return nil, Failf(Usage, "--cacert: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, Failf(Usage, "--cacert: %s holds no certificate", t.cacert)
		}
	}
	switch {
	case t.cert == "" && t.key != "":
		return nil, Failf(Usage, "--cert-key is the key of a certificate, and --cert names none")
	case t.cert != "":
		pair, err := tls.LoadX509KeyPair(t.cert, cmp.Or(t.key, t.cert))
		if err != nil {
			return nil, Failf(Usage, "--cert: %v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// PEM reads the files as they are, for who keeps their contents.
func (t *TLS) PEM() (cacert, cert, key string, insecure bool, err error) {
	if _, err := t.Config(); err != nil {
		return "", "", "", false, err
	}
	read := func(path string) (text string) {
		if path == "" || err != nil {
			return ""
		}
		var b []byte
		if b, err = os.ReadFile(path); err != nil {
			err = Failf(Usage, "%v", err)
		}
		return string(b)
	}
	return read(t.cacert), read(t.cert), read(cmp.Or(t.key, t.cert)), t.insecure, err
}
