package com.robustmq.rmq.junit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import org.eclipse.paho.mqttv5.client.MqttClient;
import org.eclipse.paho.mqttv5.client.persist.MemoryPersistence;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** The examples of docs/testing/java.md, and what else the extension promises. */
@ExtendWith(RmqExtension.class)
class RmqExtensionTest {
    private static void publish(Rmq rmq, String topic, String value) throws Exception {
        MqttClient client = new MqttClient(rmq.mqttTcp(), "test", new MemoryPersistence());
        client.connect();
        client.publish(topic, value.getBytes(), 1, true);
        client.disconnect();
        client.close();
    }

    // [records]
    @Test
    void theTemperatureIsPublished(Rmq rmq) throws Exception {
        publish(rmq, "plant/dev1/temp", "{\"celsius\": 31}");

        Rmq.Message record = rmq.topic("plant/dev1/temp").wantRecords(1).get(0);
        assertEquals("{\"celsius\": 31}", record.text());
        assertEquals("plant/dev1/temp", record.address());
    }
    // [records]

    // [clock]
    @Test
    void anOrderIsGivenUpAfterADay(Rmq rmq) throws Exception {
        rmq.clock().freeze();
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(rmq.amqpUrl());
        try (Connection connection = factory.newConnection()) {
            Channel channel = connection.createChannel();
            channel.queueDeclare("given-up", true, false, false, null);
            channel.queueDeclare("open-orders", true, false, false,
                    Map.of("x-message-ttl", 86_400_000, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "given-up"));
            channel.basicPublish("", "open-orders", null, "order 7".getBytes());
            rmq.queue("open-orders").want("ready=1");

            rmq.clock().advance(Duration.ofDays(1).minusSeconds(1));
            assertEquals(1, rmq.queue("open-orders").ready());
            rmq.clock().advance(Duration.ofSeconds(1)); // returns when all that was due has happened
            assertEquals(0, rmq.queue("open-orders").ready());
            assertEquals("order 7", rmq.queue("given-up").messages().get(0).text());
            channel.queueDeclarePassive("given-up"); // the connection has lived through the day
        } finally {
            rmq.clock().resume();
        }
    }
    // [clock]

    @Test
    void aWaitInVainSaysHowItStands(Rmq rmq) {
        RmqException e = assertThrows(RmqException.class, () -> rmq.call("POST", "/v1/want", "{\"queue\":\"none\",\"within\":\"10ms\"}"));
        assertEquals("timeout", e.category());
        assertTrue(e.getMessage().contains("exists did not come true within 10ms: there is none"), e.getMessage());
    }

    @Test
    void whereChoosesMessages(Rmq rmq) throws Exception {
        publish(rmq, "furnace/temp", "{\"celsius\": 21}");
        publish(rmq, "furnace/temp", "{\"celsius\": 31}");
        assertEquals("{\"celsius\": 31}", rmq.topic("furnace").wantRecords(1, "json.celsius > 30").get(0).text());
        assertEquals("{\"celsius\": 31}", rmq.retained("furnace/#").get(0).text());
        assertFalse(rmq.topic("nothing/here").exists());
        assertTrue(rmq.topic("furnace").exists());
    }

    // [faults]
    @Test
    void whatIsRefusedIsNotThere(Rmq rmq) throws Exception {
        rmq.reset(); // in a method of @BeforeEach: every test begins with an empty broker
        Rmq.Fault refused = rmq.fault("amqp/queue.declare", "close", Map.of("code", 403, "times", 1));
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(rmq.amqpUrl());
        try (Connection connection = factory.newConnection()) {
            assertThrows(IOException.class, () -> connection.createChannel().queueDeclare("jobs", true, false, false, null));
            assertEquals(1, refused.fired());
            assertFalse(rmq.queue("jobs").exists());
            connection.createChannel().queueDeclare("jobs", true, false, false, null); // once, and not again
        }
    }
    // [faults]

    @Test
    void aResetLeavesNothing(Rmq rmq) throws Exception {
        publish(rmq, "plant/dev1/temp", "21.5");
        Rmq.Fault later = rmq.fault("mqtt/PUBACK", "delay", Map.of("delay", "1h", "from", "1h"));
        assertEquals(0, later.seen());
        rmq.fault("mqtt/PUBACK", "drop", Map.of("client", "nobody")).remove();
        Map<String, Integer> gone = rmq.reset();
        assertTrue(gone.get("topics") >= 1 && gone.get("retained") >= 1 && gone.get("faults") >= 1, gone.toString());
        assertTrue(rmq.topics().isEmpty() && rmq.queues().isEmpty() && rmq.sessions().isEmpty() && rmq.groups().isEmpty());
        assertTrue(rmq.retained("#").isEmpty());
        assertThrows(IllegalStateException.class, later::fired);
    }
}
