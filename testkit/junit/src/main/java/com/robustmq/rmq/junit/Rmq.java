package com.robustmq.rmq.junit;

import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A running broker: where clients connect, what it holds, and its clock. */
public final class Rmq {
    private final HttpClient http = HttpClient.newHttpClient();
    private final String control;
    private final Map<String, Object> urls;

    /** A broker by its control URL, as RMQ_CONTROL_URL has it. */
    public Rmq(String control) {
        this.control = control.replaceAll("/$", "");
        this.urls = object(object(call("GET", "/v1/status", null)).get("urls"));
    }

    /** mqtt://host:port. */
    public String mqttUrl() {
        return (String) urls.get("mqtt");
    }

    /** Where MQTT is spoken, as Paho wants it: tcp://host:port. */
    public String mqttTcp() {
        return mqttUrl().replaceFirst("^mqtt:", "tcp:");
    }

    /** amqp://host:port. */
    public String amqpUrl() {
        return (String) urls.get("amqp");
    }

    /** host:port, of every node. */
    public String kafkaBootstrapServers() {
        String given = System.getenv("KAFKA_BOOTSTRAP_SERVERS");
        return given != null ? given : ((String) urls.get("kafka")).replaceFirst("^kafka://", "");
    }

    /** The time that the broker goes by. */
    public Clock clock() {
        return new Clock();
    }

    /**
     * Has something go wrong from now on: {@code fault("mqtt/PUBACK", "drop", Map.of("client", "dev1", "times", 1))}.
     * docs/CHAOS.md tells where, and what.
     */
    public Fault fault(String at, String effect, Map<String, ?> rule) {
        Map<String, Object> body = new LinkedHashMap<>(rule);
        body.put("at", at);
        body.put("do", effect);
        return new Fault((String) object(call("POST", "/v1/chaos", Json.write(body))).get("name"));
    }

    /** Takes away what clients have made, and all faults, and tells how many of each. */
    public Map<String, Integer> reset() {
        Map<String, Integer> out = new LinkedHashMap<>();
        object(call("POST", "/v1/reset", null)).forEach((name, n) -> out.put(name, ((Double) n).intValue()));
        return out;
    }

    /** The topics that there are; docs/CONTROL.md has the fields, of those below too. */
    public List<Map<String, Object>> topics() {
        return all("topics");
    }

    public List<Map<String, Object>> queues() {
        return all("queues");
    }

    public List<Map<String, Object>> sessions() {
        return all("sessions");
    }

    public List<Map<String, Object>> groups() {
        return all("groups");
    }

    private List<Map<String, Object>> all(String kinds) {
        return list(call("GET", "/v1/" + kinds, null)).stream().map(Rmq::object).toList();
    }

    public Topic topic(String name) {
        return new Topic(name);
    }

    public Queue queue(String name) {
        return new Queue(name);
    }

    public Thing session(String clientId) {
        return new Thing("session", clientId);
    }

    public Thing group(String id) {
        return new Thing("group", id);
    }

    /** Retained messages whose topic matches a filter. */
    public List<Message> retained(String filter) {
        return messages(call("GET", "/v1/retained?filter=" + encode(filter), null));
    }

    /** A message as the broker has it. fields are those of docs/CONTROL.md. */
    public record Message(byte[] value, Map<String, Object> fields) {
        /** The value as text; null: it has none. */
        public String text() {
            return value == null ? null : new String(value, StandardCharsets.UTF_8);
        }

        public String address() {
            return (String) fields.get("address");
        }
    }

    /** The time that the broker goes by. Frozen, it moves when a test moves it alone. */
    public final class Clock {
        private Instant state(String method, String path, String body) {
            return Instant.parse((String) object(call(method, path, body)).get("now"));
        }

        public Instant now() {
            return state("GET", "/v1/clock", null);
        }

        public boolean frozen() {
            return (Boolean) object(call("GET", "/v1/clock", null)).get("frozen");
        }

        public void freeze() {
            call("POST", "/v1/clock/freeze", null);
        }

        public void resume() {
            call("POST", "/v1/clock/resume", null);
        }

        /** Moves on, and returns once all that was due has happened. Clients stay connected. */
        public Instant advance(Duration by) {
            return advance(by, false);
        }

        /** With liveness, clients whose keep alive is shorter count as silent meanwhile. */
        public Instant advance(Duration by, boolean liveness) {
            return state("POST", "/v1/clock/advance", "{\"by\":\"" + by.toMillis() + "ms\",\"liveness\":" + liveness + "}");
        }

        /** Moves on to a time. It does not go back. */
        public Instant set(Instant to) {
            return state("POST", "/v1/clock/advance", "{\"to\":\"" + to + "\"}");
        }
    }

    /** Something that is to go wrong. */
    public final class Fault {
        private final String name;

        Fault(String name) {
            this.name = name;
        }

        private int number(String field) {
            for (Object rule : list(object(call("GET", "/v1/chaos", null)).get("rules"))) {
                if (name.equals(object(rule).get("name"))) {
                    return ((Double) object(rule).get(field)).intValue();
                }
            }
            throw new IllegalStateException("there is no fault " + name + " any more");
        }

        /** How often it has happened. */
        public int fired() {
            return number("fired");
        }

        /** How often it might have happened. */
        public int seen() {
            return number("seen");
        }

        public void remove() {
            call("DELETE", "/v1/chaos/" + encode(name), null);
        }
    }

    /** A topic, queue, session or group, by its name. It need not exist yet. */
    public class Thing {
        private final String kind;
        private final String name;

        Thing(String kind, String name) {
            this.kind = kind;
            this.name = name;
        }

        final String path() {
            return "/v1/" + kind + "s/" + encode(name);
        }

        /** What the broker tells of it; null: there is none. */
        public Map<String, Object> info() {
            try {
                return object(call("GET", path(), null));
            } catch (RmqException e) {
                if (e.category().equals("not_found")) {
                    return null;
                }
                throw e;
            }
        }

        public boolean exists() {
            return info() != null;
        }

        /** Waits until conditions hold ("ready>=1", "gone"). An AssertionError says how it stands if not. */
        public void want(String... conditions) {
            wanted(null, conditions);
        }

        final Map<String, Object> wanted(String where, String... conditions) {
            List<String> quoted = new ArrayList<>();
            for (String c : conditions) {
                quoted.add(Json.quote(c));
            }
            String body = "{" + Json.quote(kind) + ":" + Json.quote(name) + ",\"if\":[" + String.join(",", quoted) + "]"
                    + (where == null ? "" : ",\"where\":" + Json.quote(where)) + "}";
            try {
                return object(call("POST", "/v1/want", body));
            } catch (RmqException e) {
                if (e.category().equals("timeout")) {
                    throw new AssertionError(e.getMessage(), e);
                }
                throw e;
            }
        }
    }

    public final class Topic extends Thing {
        Topic(String name) {
            super("topic", name);
        }

        public List<Message> records() {
            return messages(call("GET", path() + "/records", null));
        }

        /** Waits until it has so many records, and returns them. */
        public List<Message> wantRecords(int count) {
            want("records=" + count);
            return records();
        }

        /** Waits until it has so many records that an expression holds of, and returns them. */
        public List<Message> wantRecords(int count, String where) {
            return messages(wanted(where, "messages=" + count).get("messages"));
        }
    }

    public final class Queue extends Thing {
        Queue(String name) {
            super("queue", name);
        }

        private int number(String field) {
            Map<String, Object> info = info();
            return info == null ? 0 : ((Double) info.get(field)).intValue();
        }

        public int ready() {
            return number("ready");
        }

        public int unacked() {
            return number("unacked");
        }

        /** Those that wait or are with consumers. None is consumed by it. */
        public List<Message> messages() {
            List<Message> out = new ArrayList<>();
            for (Object q : list(call("GET", path() + "/messages", null))) {
                out.add(message(object(q).get("message")));
            }
            return out;
        }
    }

    /** One exchange with the control API: its data. */
    public Object call(String method, String path, String body) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(control + path)).header("Content-Type", "application/json")
                .method(method, body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body)).build();
        try {
            Map<String, Object> envelope = object(Json.read(http.send(request, HttpResponse.BodyHandlers.ofString()).body()));
            Map<String, Object> error = object(envelope.get("error"));
            if (error != null) {
                Object hint = error.get("hint");
                throw new RmqException(error.get("message") + (hint == null ? "" : " (hint: " + hint + ")"), (String) error.get("category"));
            }
            return envelope.get("data");
        } catch (IOException e) {
            throw new RmqException("no answer from " + control + ": " + e, "unavailable");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new RmqException("interrupted", "unavailable");
        }
    }

    private static List<Message> messages(Object all) {
        List<Message> out = new ArrayList<>();
        for (Object m : list(all)) {
            out.add(message(m));
        }
        return out;
    }

    private static Message message(Object m) {
        Map<String, Object> fields = object(m);
        String value = (String) fields.get("value");
        byte[] bytes = value == null ? null
                : "base64".equals(fields.get("value_encoding")) ? Base64.getDecoder().decode(value) : value.getBytes(StandardCharsets.UTF_8);
        return new Message(bytes, fields);
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> object(Object o) {
        return (Map<String, Object>) o;
    }

    @SuppressWarnings("unchecked")
    private static List<Object> list(Object o) {
        return o == null ? List.of() : (List<Object>) o;
    }

    private static String encode(String s) {
        return URLEncoder.encode(s, StandardCharsets.UTF_8).replace("+", "%20");
    }
}
