/* The time, as HTTP writes it (RFC 9110, 5.6.7). */

function now() { return new Date().toUTCString(); }

export default {now};
