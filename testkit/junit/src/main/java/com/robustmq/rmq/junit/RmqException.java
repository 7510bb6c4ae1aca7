package com.robustmq.rmq.junit;

/** What the broker answers that is no result. */
public class RmqException extends RuntimeException {
    private final String category;

    RmqException(String message, String category) {
        super(message);
        this.category = category;
    }

    /** One of docs/CONTROL.md: usage, not_found, conflict, timeout… */
    public String category() {
        return category;
    }
}
