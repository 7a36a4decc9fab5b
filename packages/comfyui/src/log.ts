type Write = (fields: Record<string, unknown>, message: string) => void

/** The part of a logger that this package uses; pino and its kin have it. */
export type Log = { readonly debug: Write; readonly info: Write; readonly warn: Write }
