package com.robustmq.rmq.junit;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** As much JSON as the control API needs: maps, lists, strings, doubles, booleans and null. */
final class Json {
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    static Object read(String text) {
        Json j = new Json(text);
        Object value = j.value();
        j.space();
        if (j.at != text.length()) {
            throw j.bad("something follows");
        }
        return value;
    }

    private Object value() {
        space();
        switch (peek()) {
            case '{': {
                Map<String, Object> out = new LinkedHashMap<>();
                at++;
                for (boolean first = true; !ends('}'); first = false) {
                    if (!first) {
                        expect(',');
                        space();
                    }
                    String name = string();
                    space();
                    expect(':');
                    out.put(name, value());
                }
                return out;
            }
            case '[': {
                List<Object> out = new ArrayList<>();
                at++;
                for (boolean first = true; !ends(']'); first = false) {
                    if (!first) {
                        expect(',');
                    }
                    out.add(value());
                }
                return out;
            }
            case '"':
                return string();
            default: {
                int from = at;
                while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) {
                    at++;
                }
                String word = text.substring(from, at);
                return switch (word) {
                    case "null" -> null;
                    case "true" -> true;
                    case "false" -> false;
                    default -> Double.valueOf(word);
                };
            }
        }
    }

    private String string() {
        expect('"');
        StringBuilder out = new StringBuilder();
        for (char c = next(); c != '"'; c = next()) {
            if (c != '\\') {
                out.append(c);
                continue;
            }
            c = next();
            switch (c) {
                case 'b' -> out.append('\b');
                case 'f' -> out.append('\f');
                case 'n' -> out.append('\n');
                case 'r' -> out.append('\r');
                case 't' -> out.append('\t');
                case 'u' -> {
                    out.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
                    at += 4;
                }
                default -> out.append(c);
            }
        }
        return out.toString();
    }

    private boolean ends(char c) {
        space();
        if (peek() != c) {
            return false;
        }
        at++;
        return true;
    }

    private void space() {
        while (at < text.length() && text.charAt(at) <= ' ') {
            at++;
        }
    }

    private char peek() {
        if (at == text.length()) {
            throw bad("it ends");
        }
        return text.charAt(at);
    }

    private char next() {
        char c = peek();
        at++;
        return c;
    }

    private void expect(char c) {
        if (next() != c) {
            throw bad("no " + c);
        }
    }

    private IllegalArgumentException bad(String why) {
        return new IllegalArgumentException("not JSON at " + at + ": " + why);
    }

    /** Writes maps, lists, numbers, booleans and null; anything else as a string. */
    static String write(Object o) {
        if (o instanceof Map<?, ?> m) {
            return m.entrySet().stream().map(e -> quote(e.getKey().toString()) + ":" + write(e.getValue())).collect(Collectors.joining(",", "{", "}"));
        }
        if (o instanceof List<?> l) {
            return l.stream().map(Json::write).collect(Collectors.joining(",", "[", "]"));
        }
        return o == null || o instanceof Number || o instanceof Boolean ? String.valueOf(o) : quote(o.toString());
    }

    /** Writes a string as JSON has it. */
    static String quote(String s) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
