package edge

import "encoding/binary"

// Proto is what a client speaks.
type Proto uint8

const (
	// Any: not known yet, or, of a listener, to be found out from the first bytes.
	Any Proto = iota
	MQTT
	Kafka
	AMQP
	HTTP // WebSocket included
	TLS  // recognised, so that it can be told from rubbish
	protos
)

var protoNames = [protos]string{"any", "mqtt", "kafka", "amqp", "http", "tls"}

func (p Proto) String() string {
	if p < protos {
		return protoNames[p]
	}
	return "unknown"
}

// DetectMax is the most bytes that Detect ever asks for.
const DetectMax = 8

// Detect tells from the first bytes of a connection what the client speaks. When it
// cannot tell yet, it returns Any and how many bytes it needs in all, at most
// DetectMax; Any and 0 say that it is nothing we know.
//
//	41 4D 51 50             "AMQP": the protocol header of AMQP 0-9-1 and 1.0
//	10                      CONNECT, which an MQTT client must send first; whatever may be wrong
//	                        with it, MQTT is what its sender wants to be answered in
//	00..06 x x x  k k v v   Kafka: a request's length, up to 100 MiB, then an API key and version
//	                        that Kafka could have
//	16                      a TLS handshake record
//	"GET " "POST " …        an HTTP request, or the preface of HTTP/2
//
// No two of these share a first byte, so waiting for more never hides another answer.
func Detect(prefix []byte) (p Proto, need int) {
	if len(prefix) == 0 {
		return Any, 1
	}
	switch first := prefix[0]; {
	case first == 0x10:
		return MQTT, 0
	case first == 0x16:
		return TLS, 0
	case first <= kafkaLengthMax>>24:
		return detectKafka(prefix)
	case first == 'A':
		return detectWords(prefix, AMQP, "AMQP")
	}
	return detectWords(prefix, HTTP, httpStarts...)
}

const (
	kafkaLengthMax  = 100 << 20 // bytes of a request: Kafka's default
	kafkaLengthMin  = 8         // key, version, correlation id
	kafkaKeyMax     = 127       // 92 are taken in Kafka 4.3
	kafkaVersionMax = 31        // the highest is 18
)

func detectKafka(b []byte) (Proto, int) {
	if len(b) < DetectMax {
		return Any, DetectMax
	}
	length := binary.BigEndian.Uint32(b)
	key, version := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	if length < kafkaLengthMin || length > kafkaLengthMax || key > kafkaKeyMax || version > kafkaVersionMax {
		return Any, 0
	}
	return Kafka, 0
}

var httpStarts = []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI "}

// detectWords looks for one of the words at the start.
func detectWords(b []byte, p Proto, words ...string) (Proto, int) {
	need := 0
	for _, w := range words {
		n := min(len(w), len(b))
		switch {
		case string(b[:n]) != w[:n]:
		case n == len(w):
			return p, 0
		case need == 0 || len(w) < need:
			need = len(w)
		}
	}
	return Any, need
}
