"""Reading a tar once, from front to back, at the speed of its bytes.

Source: POSIX.1-2017, pax; the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
Read are ustar, pax, GNU and V7 members with GNU long names and the four ways of storing sparse
files. Where writers disagree, the choice is that of Go's archive/tar, since that is what made
nearly every image.
"""
