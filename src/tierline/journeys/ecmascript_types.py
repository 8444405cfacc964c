"""The types and the error of the generated TypeScript and JavaScript clients; « and » as in ecmascript.py."""

from __future__ import annotations

TYPES = """\
/** What went wrong, as a problem document (RFC 9457). `part` names the part of the journey that failed. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  instance?: string;
  journey?: string;
  part?: string;
  service?: string;
  trace_id?: string;
  /** What has been done already and stays, when a later part failed. */
  effects?: string[];
  /** The path of the step that comes first (409). */
  go_to?: string;
  /** Parts that something stood in for before another one failed. */
  degraded?: Degraded[];
  errors?: { in: string; field: string; given?: unknown; why: string }[];
}

export interface Options {
  /** Where the journeys are; the page's own origin when it is left out. */
  base?: string;
  headers?: Record<string, string>;
  /** Milliseconds for each call; 30 seconds when it is left out. */
  timeout?: number;
  fetch?: typeof fetch;
}

export interface StreamCall {
  /** Ends the call: its promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  headers?: Record<string, string>;
  /** Milliseconds for the whole call, with its retries; in a stream, between two pieces of it (no limit by default). */
  timeout?: number;
  /** How often it is tried again (0) after no reply, 429, 502, 503 or 504; only where nothing can be done twice. */
  retries?: number;
  /** The idempotency key of what changes something. Made for each call when it is left out, and kept over its retries. */
  key?: string;
}

export interface Call<F extends string = never> extends StreamCall {
  /** Only these fields of the answer, e.g. ["details.title", "similar"]; the answer has the type of what is left. */
  fields?: readonly F[];
}

/** The fields of an answer as dotted names, four levels deep. */
export type Field<T, D extends 1[] = []> = unknown extends T
  ? string
  : D["length"] extends 4
    ? never
    : T extends readonly (infer U)[]
      ? Field<U, D>
      : T extends object
        ? { [K in Named<T, D>]-?: K | `${K}.${Field<NonNullable<T[K]>, [...D, 1]>}` }[Named<T, D>]
        : never;

/** An answer's `degraded` is always there, so it isn't asked for. */
type Named<T, D extends 1[]> = Exclude<keyof T & string, D["length"] extends 0 ? "degraded" : never>;
type First<F extends string> = F extends `${infer K}.${string}` ? K : F;
type Below<F extends string, K extends string> = F extends `${K}.${infer R}` ? R : never;

/** What is left of T when only the fields F of it are asked for. */
export type Picked<T, F extends string> = T extends readonly (infer U)[]
  ? Picked<U, F>[]
  : T extends object
    ? { [K in keyof T as K extends First<F> ? K : never]: K extends F ? T[K] : Picked<T[K], Below<F, K & string>> }
    : T;

/** A journey's answer: whole, or the fields that were asked for and what is told of missing parts. */
export type Answer<T, F extends string> = [F] extends [never]
  ? T
  : unknown extends T
    ? T
    : Picked<T, F> & Pick<T, Extract<keyof T, "degraded">>;

/** What a stream tells: parts as they finish, the view of a client that has one, and how it went. */
export type PartEvent<P, A = unknown> =
  | { [K in keyof P]: { event: "part"; part: K; value: P[K]; degraded?: Degraded[] } }[keyof P]
  | { event: "first"; value: Partial<P>; degraded?: Degraded[] }
  | { event: "view"; value: A }
  | { event: "problem"; part: string; status: number; problem: Problem }
  | { event: "end"; degraded: Degraded[]; skipped: string[] };
"""

TYPES_TAKEN = frozenset(
    (
        "Problem", "Options", "StreamCall", "Call", "Field", "Named", "First", "Below", "Picked", "Answer", "PartEvent", "Client",
        "JourneyProblem", "Journeys", "Limit", "Asked", "Response", "Promise", "Record", "AsyncGenerator", "Pick",
        "Partial", "Extract",
        "Error", "AbortSignal", "AbortController", "URLSearchParams", "TextDecoder", "Date", "Math", "Object", "Number",
    )
)  # fmt: skip
"""Types that the client itself has or uses: one of the user that is called so gets another name."""

PROBLEM = """\
/**
 * A journey that could not be answered; `status` is 0 when there was no reply at all.
 * `code` is what the document's `type` ends with: not-found, bad-parameters, …. This client's own are no-reply, timeout and
 * broken-off.
 */
export class JourneyProblem extends Error {
  «readonly problem: Problem;
  /** Seconds after which it may be tried again, as `Retry-After` says. */
  readonly retryAfter: number | undefined;
  /** How to sign in (401), as `WWW-Authenticate` says. */
  readonly authenticate: string | undefined;
  /** The idempotency key of the call: the same call with it does nothing twice. */
  readonly key: string | undefined;
»
  constructor(problem«: Problem», headers«: Headers | undefined» = undefined, key«: string | undefined» = undefined) {
    super(problem.detail || problem.title);
    this.name = "JourneyProblem";
    this.problem = problem;
    const after = headers?.get("retry-after");
    const seconds = after ? (/^[0-9]+$/.test(after) ? Number(after) : (Date.parse(after) - Date.now()) / 1000) : NaN;
    this.retryAfter = Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
    this.authenticate = headers?.get("www-authenticate") || undefined;
    this.key = key;
  }

  get status()«: number» {
    return this.problem.status;
  }

  get code()«: string» {
    return this.problem.type.split(":").pop() || "";
  }

  /** Whether the same call may succeed a moment later. */
  get retryable()«: boolean» {
    return [429, 502, 503, 504].includes(this.status) || this.code === "no-reply";
  }
}
"""

PROBLEM_DECLARED = """\
/**
 * A journey that could not be answered; `status` is 0 when there was no reply at all.
 * `code` is what the document's `type` ends with: not-found, bad-parameters, …. This client's own are no-reply, timeout and
 * broken-off.
 */
export declare class JourneyProblem extends Error {
  readonly problem: Problem;
  /** Seconds after which it may be tried again, as `Retry-After` says. */
  readonly retryAfter: number | undefined;
  /** How to sign in (401), as `WWW-Authenticate` says. */
  readonly authenticate: string | undefined;
  /** The idempotency key of the call: the same call with it does nothing twice. */
  readonly key: string | undefined;
  constructor(problem: Problem, headers?: Headers, key?: string);
  get status(): number;
  get code(): string;
  /** Whether the same call may succeed a moment later. */
  get retryable(): boolean;
}
"""
