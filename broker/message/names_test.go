package message

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestNamesTable(t *testing.T) {
	tests := []struct{ mqtt, kafka, amqp string }{
		// The published table.
		{"sensors/dev1/temp", "sensors.dev1.temp", "sensors.dev1.temp"},
		{"spBv1.0/G1/NDATA/E1", "spBv1_x2E_0.G1.NDATA.E1", "spBv1_x2E_0.G1.NDATA.E1"},
		{"192.168.0.1/set", "192_x2E_168_x2E_0_x2E_1.set", "192_x2E_168_x2E_0_x2E_1.set"},
		{"user@domain.tld/samsung s7", "user_x40_domain_x2E_tld.samsung_x20_s7", "user@domain_x2E_tld.samsung s7"},
		{"/a//b/", ".a..b.", ".a..b."},
		{"a_x2E_b/c", "a_x5F_x2E_b.c", "a_x5F_x2E_b.c"},
		// Nothing to do.
		{"orders", "orders", "orders"},
		{"foo_bar/x_y", "foo_bar.x_y", "foo_bar.x_y"},
		{"a__b", "a__b", "a__b"},
		// Beyond ASCII.
		{"café/zürich", "caf_xE9_.z_xFC_rich", "café.zürich"},
		{"😀", "_x1F600_", "😀"},
		{"\ufffd", "_xFFFD_", "\ufffd"},
		// What is special in MQTT, made elsewhere.
		{"a_x2B_b", "a_x2B_b", "a+b"},
		{"_x23_", "_x23_", "#"},
		{"a_x2F_b", "a_x2F_b", "a_x2F_b"},
		{"a_x00_b", "a_x00_b", "a\x00b"},
		// Escapes that are not: lower case, zeros in front, one digit, no such character, not
		// special here.
		{"a_x2e_b", "a_x2e_b", "a_x2e_b"},
		{"a_x02E_b", "a_x02E_b", "a_x02E_b"},
		{"a_xE_b", "a_xE_b", "a_xE_b"},
		{"a_x110000_b", "a_x110000_b", "a_x110000_b"},
		{"a_xD800_b", "a_xD800_b", "a_xD800_b"},
		{"a_x41_b", "a_x41_b", "a_x41_b"},
		{"a_x5F_b", "a_x5F_b", "a_x5F_b"},
		// Chains.
		{"_x2E", "_x2E", "_x2E"},
		{"_x2E.", "_x5F_x2E_x2E_", "_x5F_x2E_x2E_"},
		{"_x5F_x2E_", "_x5F_x5F_x5F_x2E_", "_x5F_x5F_x5F_x2E_"},
		{"_x5F_x2F_", "_x5F_x2F_", "_x5F_x2F_"},
		// Bytes that are not UTF-8, possible in AMQP alone.
		{"a_xDCFF_b", "a_xDCFF_b", "a\xffb"},
		{"_xDCC3__xDCC3_é", "_xDCC3__xDCC3__xE9_", "\xc3\xc3é"},
		{"_xDCC3__xDCA9_", "_xDCC3__xDCA9_", "_xDCC3_\xa9"},
		// Roots.
		{"$SYS/broker", "_x24_SYS.broker", "$SYS.broker"},
		{"$kafka/__consumer_offsets", "__consumer_offsets", "$kafka.__consumer_offsets"},
		{"$kafka/orders", "_x24_kafka.orders", "$kafka.orders"},
		{"__mine/x", "_x24_kafka.__mine.x", "__mine.x"},
		{"_mine", "_mine", "_mine"},
		// Long names and reserved ones.
		{strings.Repeat("a", 249), strings.Repeat("a", 249), strings.Repeat("a", 249)},
		{"...", "_x2E__x2E__x2E_", "_x2E__x2E__x2E_"},
	}
	for _, tt := range tests {
		if got := KafkaName(tt.mqtt); got != tt.kafka {
			t.Errorf("KafkaName(%q) = %q, want %q", tt.mqtt, got, tt.kafka)
		}
		if got := AMQPKey(tt.mqtt); got != tt.amqp {
			t.Errorf("AMQPKey(%q) = %q, want %q", tt.mqtt, got, tt.amqp)
		}
		if got := FromKafkaName(tt.kafka); got != tt.mqtt {
			t.Errorf("FromKafkaName(%q) = %q, want %q", tt.kafka, got, tt.mqtt)
		}
		if got := FromAMQPKey(tt.amqp); got != tt.mqtt {
			t.Errorf("FromAMQPKey(%q) = %q, want %q", tt.amqp, got, tt.mqtt)
		}
	}
}

func TestHashedNames(t *testing.T) {
	long := strings.Repeat("sensor/", 40)
	tests := []struct{ name, address, kafka, amqp string }{
		{"empty", "", "_h4oymiquy7qobjgx36tejs35zeq", ""},
		{"dot", "/", "._hrjpnvmucmmsegim6aupevxrndv", "."},
		{"dots", "//", ".._hulbdhfur7repxukpwmdsslp7hy", ".."},
		{"long", long, "", ""},
		{"a cut on an escape", strings.Repeat("a", 219) + strings.Repeat(".", 20), "", ""},
		{"a cut on a character", strings.Repeat("é", 200), "", ""},
	}
	for _, tt := range tests {
		kafka, amqp := KafkaName(tt.address), AMQPKey(tt.address)
		if !IsHashed(kafka) || !ValidKafkaName(kafka) {
			t.Errorf("%s: KafkaName = %q: want a legal hashed name", tt.name, kafka)
		}
		if len(amqp) > AMQPNameMax || !utf8.ValidString(amqp) {
			t.Errorf("%s: AMQPKey = %q: want at most %d bytes of UTF-8", tt.name, amqp, AMQPNameMax)
		}
		if tt.kafka != "" && kafka != tt.kafka {
			t.Errorf("%s: KafkaName = %q, want %q", tt.name, kafka, tt.kafka)
		}
		if tt.amqp != "" && amqp != tt.amqp {
			t.Errorf("%s: AMQPKey = %q, want %q", tt.name, amqp, tt.amqp)
		}
		if len(tt.address) > AMQPNameMax && !IsHashed(amqp) {
			t.Errorf("%s: AMQPKey = %q: want a hashed name", tt.name, amqp)
		}
		for _, name := range []string{kafka, amqp} {
			if IsHashed(name) {
				head := name[:len(name)-hashedLen]
				if i := strings.LastIndex(head, "_x"); i >= 0 && !strings.Contains(head[i+1:], "_") {
					t.Errorf("%s: %q is cut inside an escape", tt.name, name)
				}
			}
		}
	}
	if KafkaName(long) == KafkaName(long+"x") {
		t.Error("two long addresses share a name")
	}
}

func TestAddressOf(t *testing.T) {
	tests := []struct{ exchange, key, address string }{
		{"", "orders.new", "orders/new"},
		{"amq.topic", "orders.new", "orders/new"},
		{"amq.topic", "a/b.c", "a/b/c"},
		{"logs", "error.disk", "logs/error/disk"},
		{"my.logs", "error", "my/logs/error"},
		{"logs", "", "logs"},
		{"amq.direct", "k", "amq/direct/k"},
		{"", "", ""},
	}
	for _, tt := range tests {
		if got := AddressOf(tt.exchange, tt.key); got != tt.address {
			t.Errorf("AddressOf(%q, %q) = %q, want %q", tt.exchange, tt.key, got, tt.address)
		}
		if key, ok := KeyIn(tt.exchange, tt.address); !ok || FromAMQPKey(key) != FromAMQPKey(tt.key) {
			t.Errorf("KeyIn(%q, %q) = %q, %v; want %q", tt.exchange, tt.address, key, ok, tt.key)
		}
	}
	if _, ok := KeyIn("logs", "logsx/error"); ok {
		t.Error("KeyIn took logsx/error for an address below logs")
	}
}

func TestFirstLevel(t *testing.T) {
	tests := []struct{ address, stream, kafka string }{
		{"sensors/dev1/temp", "sensors", "sensors"},
		{"sensors", "sensors", "sensors"},
		{"/a/b", "/a", ".a"},
		{"/a", "/a", ".a"},
		{"//a/b", "//a", "..a"},
		{"a/", "a", "a"},
		{"spBv1.0/G1", "spBv1.0", "spBv1_x2E_0"},
	}
	for _, tt := range tests {
		if got := FirstLevel(tt.address); got != tt.stream {
			t.Errorf("FirstLevel(%q) = %q, want %q", tt.address, got, tt.stream)
		}
		if got := HomeKafkaName(tt.address); got != tt.kafka {
			t.Errorf("HomeKafkaName(%q) = %q, want %q", tt.address, got, tt.kafka)
		}
		if tt.address != tt.stream && !Below(tt.address, tt.stream) {
			t.Errorf("%q is not below %q", tt.address, tt.stream)
		}
	}
}

func TestCapturable(t *testing.T) {
	for address, want := range map[string]bool{
		"sensors/x": true, "amq/direct/x": true, "": false, "$SYS/x": false,
		"amq/gen-JzTY20BRgKO": false, "amq/rabbitmq/reply-to/x": false,
	} {
		if got := Capturable(address); got != want {
			t.Errorf("Capturable(%q) = %v", address, got)
		}
	}
}

func TestFiltersAndPatterns(t *testing.T) {
	tests := []struct {
		filter, pattern string
		exact           bool // both ways
	}{
		{"a/+/b", "a.*.b", true},
		{"a/#", "a.#", true},
		{"#", "#", true},
		{"+/x.y/#", "*.x_x2E_y.#", true},
		{"/+", ".*", true},
		{"a/_x2B_/b", "a.+.b", true},
	}
	for _, tt := range tests {
		if got, exact := FilterToPattern(tt.filter); got != tt.pattern || exact != tt.exact {
			t.Errorf("FilterToPattern(%q) = %q, %v", tt.filter, got, exact)
		}
		if got, exact := PatternToFilter(tt.pattern); got != tt.filter || exact != tt.exact {
			t.Errorf("PatternToFilter(%q) = %q, %v", tt.pattern, got, exact)
		}
	}
	if got, exact := FilterToPattern("a/*"); got != "a.*" || exact {
		t.Errorf("a literal star: %q, %v", got, exact)
	}
	if got, exact := PatternToFilter("a.#.b"); got != "a/#/b" || exact {
		t.Errorf("# in the middle: %q, %v", got, exact)
	}
}

// ---- properties --------------------------------------------------------------

// awkward draws strings full of what escapes are made of.
func awkward(alphabet string) *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"_", "__", "_x2E_", "_x5F_", "x2E_", "x5F_", "_x", "_x2", "_x2F_", "_x2B_", "_x00_", "_xE9_", "_xDCFF_", "_xDCC3_",
			"_xDCA9_", "_xDCE2_", "_xDC82_", "_xDCAC_", "_x24_kafka.__", "__c", "x24_", "_x24_", "2E_", ".", "_h", "a", "$kafka",
		}),
		rapid.StringOfN(rapid.RuneFrom([]rune(alphabet)), 0, 3, -1),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
	})
}

func TestKafkaNamesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topic := awkward("._-xEF5az09").Draw(t, "topic")
		if !ValidKafkaName(topic) {
			t.Skip()
		}
		checkKafka(t, topic)
	})
}

func TestMQTTTopicsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := awkward("/._ xEF5aé€\ufffd*$").Draw(t, "address")
		checkMQTT(t, address)
	})
}

func TestAMQPKeysReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := awkward("._ xEF5aé€+#*$\x00").Draw(t, "key")
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			at := rapid.IntRange(0, len(key)).Draw(t, "at")
			key = key[:at] + string(rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "bytes")) + key[at:]
		}
		checkAMQP(t, key)
	})
}

type failer interface {
	Fatalf(format string, args ...any)
}

func checkKafka(t failer, topic string) {
	address := FromKafkaName(topic)
	if !validMQTT(address) {
		t.Fatalf("topic %q has address %q, which MQTT does not allow", topic, address)
	}
	if again := KafkaName(address); again != topic {
		t.Fatalf("topic %q is address %q, which is topic %q", topic, address, again)
	}
	checkMQTT(t, address)
}

func checkMQTT(t failer, address string) {
	if !validMQTT(address) {
		return
	}
	if name := KafkaName(address); !ValidKafkaName(name) {
		t.Fatalf("address %q has topic %q, which Kafka does not allow", address, name)
	} else if again := FromKafkaName(name); again != address && !hashes(address, name) {
		t.Fatalf("address %q is topic %q, which is address %q", address, name, again)
	}
	if key := AMQPKey(address); len(key) > AMQPNameMax {
		t.Fatalf("address %q has a key of %d bytes", address, len(key))
	} else if again := FromAMQPKey(key); again != address && !hashes(address, key) {
		t.Fatalf("address %q is key %q, which is address %q", address, key, again)
	}
}

func checkAMQP(t failer, key string) {
	if len(key) > AMQPNameMax {
		return
	}
	address := FromAMQPKey(key)
	if !validMQTT(address) {
		t.Fatalf("key %q has address %q, which MQTT does not allow", key, address)
	}
	if want := strings.ReplaceAll(key, "/", "."); AMQPKey(address) != want {
		t.Fatalf("key %q is address %q, which is key %q", key, address, AMQPKey(address))
	}
	if len(address) < 60 {
		checkMQTT(t, address)
	}
}

func validMQTT(address string) bool {
	return utf8.ValidString(address) && !strings.ContainsAny(address, "+#\x00")
}

// hashes tells whether name stands for an address that had to be hashed.
func hashes(address, name string) bool {
	var spelled []byte
	return IsHashed(name) && strings.HasSuffix(name, string(appendHashed(nil, spelled, address, KafkaNameMax)))
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a/b", "__x", "_x5F_x2E_", "a_x2E_b.c", "_xDCC3__xDCA9_", "\xff\xc3", "_x24_kafka.__a", "/", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		checkMQTT(t, name)
		checkAMQP(t, name)
		if ValidKafkaName(name) {
			checkKafka(t, name)
		}
		FromKafkaName(name)
		PatternToFilter(name)
		FilterToPattern(name)
	})
}

// A chain of escapes must not be followed again from each of its links.
func TestLongChainsAreLinear(t *testing.T) {
	name := strings.Repeat("_x5F", 1<<14) + "_x2E_"
	if again := FromAMQPKey(string(transcode(nil, name, mqttSpelling, amqpSpelling))); again != name {
		t.Fatal("a long chain does not read back")
	}
}

func TestNamesDoNotAllocate(t *testing.T) {
	var buf [512]byte
	for name, f := range map[string]func(){
		"append":        func() { AppendKafkaName(buf[:0], "sensors/dev1/temp") },
		"append escape": func() { AppendKafkaName(buf[:0], "sensors/dev 1/te.mp") },
		"append amqp":   func() { AppendAMQPKey(buf[:0], "sensors/dev1/temp") },
		"same":          func() { KafkaName("sensors") },
		"same back":     func() { FromKafkaName("sensors") },
		"same amqp":     func() { FromAMQPKey("sensors") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { KafkaName("sensors/dev1/temp") }); n != 1 {
		t.Errorf("KafkaName with separators to change: %v allocations, want 1", n)
	}
}

func BenchmarkKafkaName(b *testing.B) {
	var buf [512]byte
	b.ReportAllocs()
	for b.Loop() {
		AppendKafkaName(buf[:0], "sensors/dev1/temp/celsius")
	}
}

func BenchmarkKafkaNameEscaped(b *testing.B) {
	var buf [512]byte
	b.ReportAllocs()
	for b.Loop() {
		AppendKafkaName(buf[:0], "user@domain.tld/samsung s7")
	}
}
