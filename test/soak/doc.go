// Package soak puts days of traffic into minutes: rounds of publishers at QoS 1
// and 2, a subscriber that is there and one that comes back, retained messages,
// clients that come and go, a bridge, sensors; among them a disk that others
// fill, and SIGKILL at random moments.
//
// After each round everything acknowledged must have come, QoS 2 once, and the
// sessions are ended again. Then the gateway owns what it owned before: memory,
// descriptors, goroutines and disk are measured after every round and must stay
// flat over the rounds in which the process lived on.
//
// `make soak` runs half an hour, SOAK=60s another time.
package soak
