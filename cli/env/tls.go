package env

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"
)

// TLS is the flags by which commands that speak a broker's protocols know who answers over TLS.
type TLS struct {
	cacert   string
	insecure bool
}

// Flags adds them.
func (t *TLS) Flags(f *pflag.FlagSet) {
	f.StringVar(&t.cacert, "cacert", "", "file with the certificates to trust, for TLS")
	_ = f.SetAnnotation("cacert", PathAnnotation, []string{"true"}) // fails for unknown flags only
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
	return config, nil
}
