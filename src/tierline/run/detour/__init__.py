"""The detour that a delayed part's traffic takes: `python -I -S detour/`, one process per part.

Standard input is a socket to the supervisor (run/delay.py): one JSON message per packet, open sockets with it.

    enter   new connections, and every datagram, come here instead of to the part: a second socket is bound to the
            part's own address, and the kernel asks a filter which of them gets it (reuseport.py)
    hold    connections that the part had before: it is told later of what arrives on them (held.py), so nobody has
            to connect anew
    delay   how long, from now on; 0 passes on at once
    leave   new connections go to the part again; those that came this way stay (through.py)
    end     the last: nothing waits any more, and this process ends with the last connection that came this way

Nothing is ever refused or cut when a delay begins or ends. When the part dies, its connections and the second
sockets end with it, so that it finds its ports free when it starts again.
"""
