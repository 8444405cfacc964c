/* JSON texts (RFC 8259) checked as a whole, and values of them found as they are written: no number is rounded, no text
   is decoded and encoded again. njs's own parser takes `1.` and `01`, and goes 31 levels deep.

   Character by character costs 0.1 µs each, a regular expression over a long text reads all of it at every match: so
   strings are crossed by indexOf. */

const DEEPEST = 100;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const HEX = /^[0-9a-fA-F]{4}$/;
const QUOTE = 34, COMMA = 44, COLON = 58, BACKSLASH = 92;
const WORDS = {116: 'true', 102: 'false', 110: 'null'};

function fail(why) { throw new Error(why); }

/* wanted: a tree of member names (or positions from 0); `''` in it is the name under which a value is remembered. */
function scan(text, wanted) {
    const found = {}, end = text.length;
    // Where the next backslash, and the next control character that only blanks may be, stand: both only move on.
    let slash = text.indexOf('\\'), breaks = [10, 13, 9].map((code) => [code, -1]);
    if (/[\x00-\x08\x0b\x0c\x0e-\x1f]/.test(text)) fail('it holds a control character');

    function blank(at) {
        for (let code = text.charCodeAt(at); code == 32 || code == 10 || code == 13 || code == 9; code = text.charCodeAt(at)) at++;
        return at;
    }

    function broken(from, to) {
        for (let at = 0; at < 3; at++) {
            const each = breaks[at];
            if (each[1] < from) {
                const next = text.indexOf(String.fromCharCode(each[0]), from);
                each[1] = next < 0 ? end : next;
            }
            if (each[1] < to) return true;
        }
        return false;
    }

    /* at: behind the opening quote. Where the closing one is. */
    function closing(at) {
        let last = text.indexOf('"', at), from = at;
        for (;;) {
            if (last < 0) fail('a string has no end');
            if (slash >= 0 && slash < from) slash = text.indexOf('\\', from);
            if (slash < 0 || slash > last) break;
            const code = text.charAt(slash + 1);
            if (code == 'u') {
                if (!HEX.test(text.slice(slash + 2, slash + 6))) fail('a string holds an unknown escape');
            } else if (!code || '"\\/bfnrt'.indexOf(code) < 0) {
                fail('a string holds an unknown escape');
            }
            from = slash + 2;
            if (last < from) last = text.indexOf('"', from);
        }
        if (broken(at, last)) fail('a string holds a control character');
        return last;
    }

    function number(at) {
        const begin = at;
        for (let code = text.charCodeAt(at); code >= 43 && code <= 57 && code != COMMA || code == 69 || code == 101;) {
            code = text.charCodeAt(++at);
        }
        if (!NUMBER.test(text.slice(begin, at))) fail('something is no JSON value');
        return at;
    }

    /* Objects and arrays that are open: njs's own stack is too short for a function that calls itself. */
    const open = [];
    let at = blank(0), node = wanted;

    /* A member's name, or a position, and on to its value. */
    function member(frame) {
        let name = frame.position++;
        if (frame.named) {
            if (text.charCodeAt(at) != QUOTE) fail('the member of an object has no name');
            const last = closing(at + 1);
            if (frame.node) name = JSON.parse(text.slice(at, last + 1));
            at = blank(last + 1);
            if (text.charCodeAt(at) != COLON) fail('a name has no value');
            at = blank(at + 1);
        }
        node = frame.node && own(frame.node, String(name));
    }

    function ends(begin, asked) {
        const name = asked && own(asked, '');
        if (name) found[name] = text.slice(begin, at);
    }

    for (;;) {
        const begin = at, code = text.charCodeAt(at);
        if (code == 123 || code == 91) {
            if (open.length >= DEEPEST) fail('it is nested too deeply');
            const frame = {named: code == 123, close: code + 2, node, begin, position: 0};
            open.push(frame);
            at = blank(at + 1);
            if (text.charCodeAt(at) != frame.close) {
                member(frame);
                continue;
            }
        } else {
            if (code == QUOTE) {
                at = closing(at + 1) + 1;
            } else if (WORDS[code]) {
                if (!text.startsWith(WORDS[code], at)) fail('something is no JSON value');
                at += WORDS[code].length;
            } else {
                at = number(at);
            }
            ends(begin, node);
        }
        let frame = open[open.length - 1];
        for (; frame; frame = open[open.length - 1]) {
            at = blank(at);
            if (text.charCodeAt(at) != frame.close) break;
            at++;
            open.pop();
            ends(frame.begin, frame.node);
        }
        if (!frame) break;
        if (text.charCodeAt(at) != COMMA) fail(frame.named ? 'an object has no end' : 'an array has no end');
        at = blank(at + 1);
        member(frame);
    }
    if (blank(at) < end) fail('something follows its end');
    return found;
}

function own(object, name) { return Object.prototype.hasOwnProperty.call(object, name) ? object[name] : undefined; }

/* Text as the inside of a JSON string. */
function escaped(text) { return JSON.stringify(text).slice(1, -1); }

export default {scan, escaped};
