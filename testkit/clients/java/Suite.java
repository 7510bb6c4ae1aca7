import com.hivemq.client.mqtt.MqttClient;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3BlockingClient;
import com.hivemq.client.mqtt.mqtt5.Mqtt5BlockingClient;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5Publish;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.eclipse.paho.mqttv5.client.persist.MemoryPersistence;
import org.eclipse.paho.mqttv5.common.MqttMessage;
import org.eclipse.paho.mqttv5.common.MqttSubscription;
import org.eclipse.paho.mqttv5.common.packet.MqttProperties;

/** What the MQTT adapter offers to the clients of Java. Each test has topics of its own; nothing sleeps. */
public class Suite {
    static final int PATIENCE = 30; // seconds that only a test which fails waits for
    static final String[] AT = System.getenv("RMQ_MQTT").split(":");
    static final String URL = "tcp://" + AT[0] + ":" + AT[1];

    interface Test {
        void run() throws Exception;
    }

    static int passed, failed;

    static void test(String name, Test t) {
        long at = System.nanoTime();
        String word = "ok  ";
        try {
            t.run();
            passed++;
        } catch (Throwable e) {
            failed++;
            word = "FAIL";
            e.printStackTrace(System.out);
        }
        System.out.printf("%s  %5.2fs  %s%n", word, (System.nanoTime() - at) / 1e9, name);
    }

    static void equal(Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new AssertionError("got " + got + ", want " + want);
        }
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] b) {
        return new String(b, StandardCharsets.UTF_8);
    }

    static <T> T next(BlockingQueue<T> q) throws Exception {
        T m = q.poll(PATIENCE, TimeUnit.SECONDS);
        if (m == null) {
            throw new AssertionError("nothing came");
        }
        return m;
    }

    static void paho3() throws Exception {
        var got = new LinkedBlockingQueue<org.eclipse.paho.client.mqttv3.MqttMessage>();
        var c = new org.eclipse.paho.client.mqttv3.MqttClient(URL, "paho3", new org.eclipse.paho.client.mqttv3.persist.MemoryPersistence());
        c.connect();
        for (int granted = 0; granted <= 2; granted++) {
            c.subscribe("paho3/" + granted, granted, (topic, m) -> got.put(m));
        }
        for (int granted = 0; granted <= 2; granted++) {
            for (int sent = 0; sent <= 2; sent++) {
                c.publish("paho3/" + granted, bytes("" + sent), sent, false);
                var m = next(got);
                equal(text(m.getPayload()) + " at " + m.getQos(), sent + " at " + Math.min(granted, sent));
            }
        }
        c.disconnect();
        c.close();
    }

    static void paho3Session() throws Exception {
        var options = new org.eclipse.paho.client.mqttv3.MqttConnectOptions();
        options.setCleanSession(false);
        var first = new org.eclipse.paho.client.mqttv3.MqttClient(URL, "paho3s", new org.eclipse.paho.client.mqttv3.persist.MemoryPersistence());
        equal(first.connectWithResult(options).getSessionPresent(), false);
        first.subscribe("paho3s", 1);
        first.disconnect();
        var pub = new org.eclipse.paho.client.mqttv3.MqttClient(URL, "paho3p", new org.eclipse.paho.client.mqttv3.persist.MemoryPersistence());
        pub.connect();
        for (int i = 0; i < 20; i++) {
            pub.publish("paho3s", bytes("" + i), 1, false);
        }
        pub.disconnect();
        var got = new LinkedBlockingQueue<String>();
        first.setCallback(new org.eclipse.paho.client.mqttv3.MqttCallback() {
            public void connectionLost(Throwable cause) {}

            public void messageArrived(String topic, org.eclipse.paho.client.mqttv3.MqttMessage m) throws Exception {
                got.put(text(m.getPayload()));
            }

            public void deliveryComplete(org.eclipse.paho.client.mqttv3.IMqttDeliveryToken token) {}
        });
        equal(first.connectWithResult(options).getSessionPresent(), true);
        for (int i = 0; i < 20; i++) {
            equal(next(got), "" + i);
        }
        first.disconnect();
    }

    static void paho5() throws Exception {
        var got = new LinkedBlockingQueue<MqttMessage>();
        var c = new org.eclipse.paho.mqttv5.client.MqttClient(URL, "paho5", new MemoryPersistence());
        c.connect();
        c.subscribe(new MqttSubscription[] {new MqttSubscription("paho5/#", 2)}, new org.eclipse.paho.mqttv5.client.IMqttMessageListener[] {(topic, m) -> got.put(m)});
        for (int qos = 0; qos <= 2; qos++) {
            var m = new MqttMessage(bytes("" + qos), qos, false, new MqttProperties());
            m.getProperties().setContentType("text/plain");
            c.publish("paho5/" + qos, m);
            m = next(got);
            equal(text(m.getPayload()) + " at " + m.getQos() + ", " + m.getProperties().getContentType(), qos + " at " + qos + ", text/plain");
        }
        c.disconnect();
        c.close();
    }

    static Mqtt5BlockingClient hive5(String id) {
        return MqttClient.builder().useMqttVersion5().identifier(id).serverHost(AT[0]).serverPort(Integer.parseInt(AT[1])).buildBlocking();
    }

    static void hivemq5() throws Exception {
        var c = hive5("hive5");
        c.connect();
        try (var got = c.publishes(MqttGlobalPublishFilter.ALL)) {
            c.subscribeWith().topicFilter("hive5/#").qos(MqttQos.EXACTLY_ONCE).send();
            for (MqttQos qos : MqttQos.values()) {
                c.publishWith().topic("hive5/" + qos.getCode()).qos(qos).payload(bytes("x")).userProperties().add("a", "1").add("a", "2").applyUserProperties().send();
                Mqtt5Publish m = got.receive(PATIENCE, TimeUnit.SECONDS).get();
                equal(m.getTopic() + " at " + m.getQos() + " " + m.getUserProperties().asList().size(), "hive5/" + qos.getCode() + " at " + qos + " 2");
            }
        }
        c.disconnect();
    }

    static void hivemq5Shared() throws Exception {
        var a = hive5("share-a");
        var b = hive5("share-b");
        var pub = hive5("share-p");
        a.connect();
        b.connect();
        pub.connect();
        var got = new LinkedBlockingQueue<String>();
        for (var c : new Mqtt5BlockingClient[] {a, b}) {
            c.toAsync().subscribeWith().topicFilter("$share/g/jobs").qos(MqttQos.AT_LEAST_ONCE).callback(m -> got.add(text(m.getPayloadAsBytes()))).send().get(PATIENCE, TimeUnit.SECONDS);
        }
        for (int i = 0; i < 40; i++) {
            pub.publishWith().topic("jobs").qos(MqttQos.AT_LEAST_ONCE).payload(bytes("" + i)).send();
        }
        var seen = new java.util.TreeSet<String>();
        for (int i = 0; i < 40; i++) {
            seen.add(next(got));
        }
        equal(seen.size(), 40);
        a.disconnect();
        b.disconnect();
        pub.disconnect();
    }

    static void hivemq3() throws Exception {
        Mqtt3BlockingClient c = MqttClient.builder().useMqttVersion3().identifier("hive3").serverHost(AT[0]).serverPort(Integer.parseInt(AT[1])).buildBlocking();
        c.connect();
        try (var got = c.publishes(MqttGlobalPublishFilter.ALL)) {
            c.publishWith().topic("hive3/kept").qos(MqttQos.AT_LEAST_ONCE).payload(bytes("kept")).retain(true).send();
            c.subscribeWith().topicFilter("hive3/+").qos(MqttQos.EXACTLY_ONCE).send();
            var m = got.receive(PATIENCE, TimeUnit.SECONDS).get();
            equal(text(m.getPayloadAsBytes()) + " " + m.isRetain(), "kept true");
            c.publishWith().topic("hive3/live").qos(MqttQos.EXACTLY_ONCE).payload(bytes("live")).send();
            m = got.receive(PATIENCE, TimeUnit.SECONDS).get();
            equal(text(m.getPayloadAsBytes()) + " " + m.isRetain(), "live false");
        }
        c.disconnect();
    }

    public static void main(String[] args) {
        test("Paho 3.1.1: QoS", Suite::paho3);
        test("Paho 3.1.1: session", Suite::paho3Session);
        test("Paho 5: QoS and properties", Suite::paho5);
        test("HiveMQ 5: QoS and properties", Suite::hivemq5);
        test("HiveMQ 5: shared subscription", Suite::hivemq5Shared);
        test("HiveMQ 3.1.1: retained", Suite::hivemq3);
        System.out.printf("%d passed, %d failed%n", passed, failed);
        System.exit(failed > 0 ? 1 : 0);
    }
}
