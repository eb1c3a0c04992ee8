// Checks a token (JWT) as one does in njs: claims, then the signature.

const key = Buffer.from('KEY', 'base64');

async function check(request) {
    const parts = (request.headersIn['Authorization'] || '').slice('Bearer '.length).split('.');
    if (parts.length !== 3) {
        request.return(401);
        return;
    }
    const claims = JSON.parse(Buffer.from(parts[1], 'base64url').toString());
    const now = Date.now() / 1000;
    if (claims.iss !== 'outport-bench' || claims.aud !== 'outport' || !(claims.exp > now)) {
        request.return(401);
        return;
    }
    const imported = await crypto.subtle.importKey('spki', key, IMPORTED, false, ['verify']);
    const signature = Buffer.from(parts[2], 'base64url');
    const message = Buffer.from(parts[0] + '.' + parts[1]);
    let good = false;
    try {
        good = await crypto.subtle.verify(CHECKED, imported, signature, message);
    } catch (error) {
        // A signature of another length.
    }
    if (!good) {
        request.return(401);
        return;
    }
    request.internalRedirect('/content');
}

export default { check };
