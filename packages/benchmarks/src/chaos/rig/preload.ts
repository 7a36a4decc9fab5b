/**
 * Loaded into a service before its own code, by `--import`, when the rig wants it changed: CHAOS_SCRIPTS names a folder whose Lua files stand
 * in for the ledger's, CHAOS_CLOCK_SKEW_MS moves its wall clock. The product itself knows nothing of this.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'

const { CHAOS_SCRIPTS: scripts, CHAOS_CLOCK_SKEW_MS: skew } = process.env

if (scripts) {
  const readFile = fs.readFileSync as (...args: unknown[]) => unknown
  const isScript = (file: unknown): boolean => /\/packages\/task-store\/scripts\/[a-z]+\.lua$/.test(String(file))
  fs.readFileSync = ((file: unknown, ...rest: unknown[]) =>
    readFile(isScript(file) ? join(scripts, basename(String(file))) : file, ...rest)) as typeof fs.readFileSync
  syncBuiltinESMExports()
}

if (skew) {
  const skewMs = Number(skew)
  const RealDate = Date
  class SkewedDate extends RealDate {
    constructor(...args: unknown[]) {
      super(...((args.length > 0 ? args : [RealDate.now() + skewMs]) as [number]))
    }

    static override now(): number {
      return RealDate.now() + skewMs
    }
  }
  globalThis.Date = SkewedDate as DateConstructor
}
