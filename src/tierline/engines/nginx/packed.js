/* Which coding of a file a client gets: Brotli before gzip, among those that it accepts, that were made beforehand
   (pack.py), and that are as old as the file itself. */

import fs from 'fs';

function accepted(text) {
    const found = {};
    text.toLowerCase().split(',').forEach((each) => {
        const parts = /^\s*([a-z]+|\*)\s*(?:;\s*q=([0-9.]+))?\s*$/.exec(each);
        if (parts) found[parts[1]] = parts[2] === undefined || +parts[2] > 0;
    });
    return found;
}

/* What is known of a file; nothing where there is none. */
function told(path) {
    try {
        const found = fs.statSync(path);
        return found.isFile() ? found : undefined;
    } catch (missing) {
        return undefined;
    }
}

function coding(r) {
    const accepts = accepted(r.headersIn['Accept-Encoding'] || ''), v = r.variables;
    const wanted = ['br', 'gzip'].filter((each) => accepts[each]);
    if (!wanted.length) return '';
    const paths = r.uri.endsWith('/') ? [r.uri + 'index.html'] : [r.uri, r.uri + '/index.html'];
    for (let at = 0; at < paths.length; at++) {
        const file = told(v.tl_files + paths[at]);
        if (!file) continue;
        return wanted.find((each) => {
            const packed = told(`${v.tl_packs}/${each}${paths[at]}`);
            return packed && packed.mtimeMs == file.mtimeMs;
        }) || '';
    }
    return '';
}

export default {coding};
