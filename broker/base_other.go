//go:build !linux

package broker

// Read reads as the accepted connection does: no loop takes over here.
func (c *baseConn) Read(p []byte) (int, error) { return c.Conn.Read(p) }
