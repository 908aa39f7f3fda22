/* Every limit of the protocol and of both its ends, in one place. Bytes unless a name says else. */
#ifndef INFINISTORE_LIMITS_H
#define INFINISTORE_LIMITS_H

/* What a client may send. */
#define IST_KEY_BYTES_MAX 1024u          /* Keys are 1 to this many arbitrary bytes. */
#define IST_KEYS_PER_REQUEST_MAX 65536u  /* Keys of one request. */
#define IST_BODY_BYTES_MAX (72u << 20)   /* One message: 65,536 keys of 1,024 bytes fit. */
#define IST_REQUESTS_IN_FLIGHT_MAX 1024u /* Per session: unanswered requests. */
#define IST_HELLO_BYTES_MAX 512u         /* Body of the first frame: a stranger gets no more. */

/* What the server spends on a session. */
#define IST_QUEUED_BYTES_MAX (64u << 20) /* Replies queued before the session is read no more. */
#define IST_SESSIONS_MAX 16384u          /* Default of the daemon's --max-sessions. */

/* Time, in nanoseconds. */
#define IST_NS_PER_SEC 1000000000ull
#define IST_HANDSHAKE_TIMEOUT_NS (10 * IST_NS_PER_SEC) /* From accept to a complete HELLO. */
#define IST_PROGRESS_TIMEOUT_NS (30 * IST_NS_PER_SEC)  /* A begun request or reply, without a byte. */
#define IST_TRANSFER_BYTES_PER_SEC_MIN (1u << 20)      /* And never so far behind this rate, */
#define IST_TRANSFER_SHARERS_MAX 1024u /* of which each of so many at most has a part. */

/* Defaults of the client. */
#define IST_CONNECT_TIMEOUT_NS (5 * IST_NS_PER_SEC)
#define IST_REQUEST_TIMEOUT_NS (30 * IST_NS_PER_SEC)

#define IST_SERVICE_PORT 22345u
#define IST_MANAGE_PORT 18080u

#ifdef __cplusplus
#define IST_STATIC_ASSERT static_assert
#else
#define IST_STATIC_ASSERT _Static_assert
#endif
/* 4 bytes cover a key's tag and length, 5 its size as a 35-bit varint, 12 a place in remote memory; 1 KiB
 * the other fields. */
IST_STATIC_ASSERT(IST_KEYS_PER_REQUEST_MAX *(IST_KEY_BYTES_MAX + 4ull + 5ull + 12ull) + 1024 <=
                      IST_BODY_BYTES_MAX,
                  "the largest batch of the longest keys fits one body");
IST_STATIC_ASSERT(IST_HELLO_BYTES_MAX < IST_BODY_BYTES_MAX, "a HELLO is a small body");

#endif
