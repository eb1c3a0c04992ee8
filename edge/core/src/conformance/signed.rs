//! What others have signed: the examples of the standards.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::key_set::Jwk;
use crate::step::PublicKey;

/// A message, its signature and the key.
pub(super) struct Signed {
    pub(super) name: &'static str,
    jwk: &'static str,
    pub(super) message: &'static str,
    signature: &'static str,
}

/// One for each algorithm.
pub(super) const ALL: [Signed; 3] = [
    Signed {
        name: "RFC 8037, appendix A.4",
        jwk: r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        message: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_M\
            uM0KAg",
    },
    Signed {
        name: "RFC 7515, appendix A.3",
        jwk: r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        message: "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9le\
            GFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-K\
            g6NU1Q",
    },
    Signed {
        name: "RFC 7515, appendix A.2",
        jwk: "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"\
            ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPM\
            EzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-\
            bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3\
            qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9g\
            b54h4FRWyuXpoQ\"}",
        message: "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9le\
            GFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        signature: "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5Y\
            Kt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6x\
            BArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6\
            BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_I\
            oypGlUPQGe77Rw",
    },
];

#[allow(clippy::expect_used)] // They are the standards' own; where they can't be read, no test can pass.
impl Signed {
    pub(super) fn key(&self) -> PublicKey {
        let jwk: Jwk = serde_json::from_str(self.jwk).expect("a key of a standard");
        jwk.read().expect("a key of a standard")
    }

    pub(super) fn signature(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(self.signature).expect("a signature of a standard")
    }
}

/// A key of the same kind that nobody has made.
pub(super) fn no_key(like: &PublicKey) -> PublicKey {
    match like {
        PublicKey::Ed25519(_) => PublicKey::Ed25519([0xff; 32]),
        PublicKey::P256 { .. } => PublicKey::P256 { x: [4; 32], y: [4; 32] },
        PublicKey::Rsa(modulus) => PublicKey::Rsa(vec![0xff; modulus.len()]),
    }
}
