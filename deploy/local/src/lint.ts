import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './root.ts'
import { say } from './say.ts'

/** Runs linter and formatter over the repository; prints only trouble. Tells whether there was none. */
export const lint = (): boolean => {
  const biome = join(root, 'node_modules', '@biomejs', 'biome', 'bin', 'biome')
  const args = [biome, 'check', '--error-on-warnings', `--colors=${process.stdout.isTTY ? 'force' : 'off'}`]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024
  })
  if (status === 0) return true
  say(`${stdout}${stderr}`.trimEnd())
  say('the linter found trouble; `npx biome check --write` mends what it can')
  return false
}
