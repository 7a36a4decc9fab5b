import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const places = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable'
]

/** The Chromium of this machine, or the one that CHROMIUM_PATH names; undefined where there is none. */
export const chromiumPath = [process.env.CHROMIUM_PATH ?? '', ...places].find(path => path !== '' && existsSync(path))

/** Starts a headless Chromium that talks to nobody but the pages under test. */
export const startBrowser = (): Promise<Browser> => {
  const quiet = ['background-networking', 'component-update', 'sync', 'quic'].map(what => `--disable-${what}`)
  return chromium.launch({
    ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', ...quiet],
    env: { ...process.env, NODE_OPTIONS: '' }
  })
}
