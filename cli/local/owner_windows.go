package local

// ownerOf names the user that a directory belongs to, for sudo: there is none here.
func ownerOf(string) string { return "" }
