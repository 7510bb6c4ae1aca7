package com.robustmq.rmq.junit;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/**
 * A broker for JUnit 5: MQTT, Kafka and AMQP, with a clock that tests move.
 *
 * <p>Tests take it as a parameter of type {@link Rmq}. Under {@code rmq test -- mvn test} it is the
 * broker that rmq runs; otherwise one is started by {@code rmq up}, in memory, on free ports, for the
 * whole run. RMQ_BINARY names the program; without it, {@code rmq} is found by PATH.
 */
public final class RmqExtension implements ParameterResolver {
    private static final ExtensionContext.Namespace NAMESPACE = ExtensionContext.Namespace.create(RmqExtension.class);

    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
        return parameter.getParameter().getType() == Rmq.class;
    }

    @Override
    public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
        return context.getRoot().getStore(NAMESPACE).getOrComputeIfAbsent(Started.class, k -> new Started(), Started.class).rmq;
    }

    /** A broker, and its process if it is ours. */
    static final class Started implements ExtensionContext.Store.CloseableResource {
        final Rmq rmq;
        private Process process;
        private Path home;

        Started() {
            String control = System.getenv("RMQ_CONTROL_URL");
            rmq = new Rmq(control != null ? control : start());
        }

        private String start() {
            String binary = System.getenv().getOrDefault("RMQ_BINARY", "rmq");
            try {
                home = Files.createTempDirectory("rmq-"); // its run file is nobody's business
                ProcessBuilder b = new ProcessBuilder(
                        List.of(binary, "up", "--quiet", "--memory", "--any-port", "--json", "--clock", "running"));
                b.redirectError(ProcessBuilder.Redirect.INHERIT);
                for (String name : List.of("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME")) {
                    b.environment().put(name, home.toString());
                }
                process = b.start();
                Runtime.getRuntime().addShutdownHook(new Thread(process::destroy));
                StringBuilder status = new StringBuilder(); // one object, over several lines
                BufferedReader out = process.inputReader();
                for (String line = out.readLine(); line != null; line = out.readLine()) {
                    status.append(line).append('\n');
                    if (line.equals("}")) {
                        Map<?, ?> data = (Map<?, ?>) ((Map<?, ?>) Json.read(status.toString())).get("data");
                        return (String) ((Map<?, ?>) data.get("urls")).get("http");
                    }
                }
            } catch (IOException e) {
                throw new IllegalStateException(binary + " cannot be run: set RMQ_BINARY, put rmq on PATH, or run: rmq test -- mvn test", e);
            }
            throw new IllegalStateException("rmq up has not started; it says why above");
        }

        @Override
        public void close() throws Exception {
            if (process == null) {
                return;
            }
            process.destroy();
            if (!process.waitFor(1, TimeUnit.SECONDS)) { // for clients that are connected still it would wait longer
                process.destroyForcibly().waitFor();
            }
            try (Stream<Path> left = Files.walk(home)) {
                left.sorted(Comparator.reverseOrder()).forEach(p -> p.toFile().delete());
            }
        }
    }
}
