package testkit

import "time"

// AuditWithin is Audit that waits no longer than d.
func AuditWithin(d time.Duration) Option { return func(c *config) { c.audit.within = d } }
