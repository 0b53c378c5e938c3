// Package topic knows topic names and topic filters: which are valid, which
// match, who wants a name, which retained names a filter selects, and how a
// bridge renames them. It is pure: no goroutine, no I/O, no clock.
//
//   - ValidName, ValidFilter and Limits check the specification's section 4.7
//     and the bounds of this broker; ParseShare splits "$share/group/filter".
//   - Match answers one filter against one name; Covers and Overlap compare
//     two filters (rights, loops between bridges).
//   - Tree finds every subscriber of a name. Names keeps a value for each of
//     many names (retained messages) and walks those that a filter selects.
//   - Remap renames between the two ends of a bridge.
//
// Tree and Names have no lock inside: any number of readers may run at once
// while nobody writes, so the owner guards them with a sync.RWMutex. Only
// Tree.Gen may be called without it.
//
// Costs are bounded by what was put in: nothing recurses over the levels of a
// topic that a client chose, and a match visits at most every node of the tree
// once.
package topic
