// Drives Chromium over the board at a URL, as an operator would, and prints what is wrong with it, as JSON.
// node board.js URL FOLDER_OF_SCREENSHOTS PLAYWRIGHT CHROMIUM
'use strict'
const http = require('node:http')
const [, , url, screenshots, playwright, executablePath] = process.argv
const { chromium } = require(playwright)

const problems = []
const base = new URL(url)
// Not a loopback name, so that browsers send no Sec-Fetch-Site to it.
const plain = new URL(url)
plain.hostname = 'board.test'

const args = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.test 127.0.0.1'
]

/** A page of a new profile whose every complaint is a problem. */
async function open(browser, options) {
  const context = await browser.newContext(options)
  context.setDefaultTimeout(10_000)
  const page = await context.newPage()
  const complain = what => text => problems.push(`${page.url()}: ${what}: ${text}`)
  page.on('console', message => complain('console')(message.text()))
  page.on('pageerror', complain('error'))
  page.on('dialog', dialog => { complain('dialog')(dialog.message()); dialog.dismiss() })
  page.on('request', request => {
    if (![base.origin, plain.origin].includes(new URL(request.url()).origin)) complain('request')(request.url())
  })
  page.on('requestfailed', request => {
    // The test itself goes on to the next page.
    const why = request.failure().errorText
    if (why !== 'net::ERR_ABORTED') complain(`failed: ${why}`)(request.url())
  })
  return page
}

function check(is, what) { if (!is) problems.push(what) }

async function has(page, text) {
  const content = await page.locator('main').innerText()
  check(content.includes(text), `${page.url()}: no ${text} in ${content.slice(0, 400)}`)
}

async function looks(browser) {
  const pages = {
    overview: 'overview', ready: 'list?inbox=&state=ready', dead: 'list?inbox=&state=dead',
    filtered: 'list?inbox=&state=dead&error=never+work', done: 'list?inbox=&state=done', overdue: 'overdue?inbox=',
    conflict: 'event?inbox=&key=job.completed:job_1', requeue: 'change?inbox=&change=requeue',
    rerun: 'change?inbox=&change=rerun', pause: 'pause?inbox=', resume: 'resume?inbox='
  }
  for (const colorScheme of ['light', 'dark']) {
    for (const [device, width] of [['desk', 1280], ['telephone', 360]]) {
      const page = await open(browser, { colorScheme, viewport: { width, height: 800 } })
      await page.goto(new URL('list?inbox=&state=dead', base).href)
      pages.event = await page.locator('a.key', { hasText: 'script' }).first().getAttribute('href')
      for (const [name, path] of Object.entries(pages)) {
        const answer = await page.goto(new URL(path, base).href)
        check(answer.status() === 200, `${path}: ${answer.status()}`)
        await page.screenshot({ path: `${screenshots}/${name}-${device}-${colorScheme}.png`, fullPage: true })
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
        check(overflow <= 0, `${path} is ${overflow} pixels wider than the ${device}`)
        const unnamed = await page.evaluate(() => [...document.querySelectorAll('input:not([type=hidden]), select')]
          .filter(field => !field.labels.length).length)
        check(unnamed === 0, `${path} has ${unnamed} fields without a label`)
      }
      await page.context().close()
    }
  }
}

/** Everything can be reached by the keyboard, and one sees where one is. */
async function keyboard(browser) {
  const page = await open(browser, {})
  await page.goto(new URL('list?inbox=&state=dead', base).href)
  const all = await page.evaluate(() => [...document.querySelectorAll('a, summary')].filter(one => one.checkVisibility()).length)
  const seen = new Set()
  for (let i = 0; i < all; i++) {
    await page.keyboard.press('Tab')
    const [text, outline] = await page.evaluate(() => {
      const focused = document.activeElement
      focused.dataset.place ??= String(Math.random())
      return [focused.outerHTML.slice(0, 200), getComputedStyle(focused).outlineStyle]
    })
    check(outline !== 'none', `the focus cannot be seen on ${text}`)
    seen.add(text)
  }
  check(seen.size === all, `${seen.size} of ${all} links can be reached`)
  await page.context().close()
}

async function actions(browser) {
  const page = await open(browser, {})
  const click = async text => { await page.getByRole('link', { name: text, exact: false }).first().click() }
  const press = async text => { await page.getByRole('button', { name: text, exact: false }).click() }
  for (const origin of [base, plain]) {
    await page.goto(origin.href)
    await click('Pause')
    await page.getByLabel('How long').fill('1h')
    await page.getByLabel('Why').fill('<b>a move</b>')
    await page.getByLabel('Who').fill('the operator')
    await press('Pause')
    await has(page, 'Paused since')
    await click('Overview')
    await has(page, '<b>a move</b>')
    if (origin === base) {
      await page.screenshot({ path: `${screenshots}/paused.png`, fullPage: true })
      continue
    }
    await click('Resume')
    await press('Resume')
    await has(page, 'goes on')
  }

  await page.goto(new URL('pause?inbox=', base).href)
  await page.getByLabel('Who').fill('the operator')
  await press('Pause')

  await page.goto(new URL('list?inbox=&state=dead', base).href)
  await page.locator('a.key', { hasText: 'script' }).first().click()
  await click('Requeue this event')
  await has(page, '1 event of')
  await press('Requeue 1 event')
  await has(page, '1 event of')
  await click('Back')
  await has(page, 'ready')
  await has(page, 'requeued: its attempts are counted from 0 again')

  await page.goto(new URL('list?inbox=&state=dead', base).href)
  await page.getByText('Filter', { exact: true }).first().click()
  await page.getByLabel('Error contains').fill('never work')
  await press('Filter')
  check(await page.locator('tbody tr').count() === 1, 'the filter does not find one event')
  await click('Discard all')
  await has(page, 'never work')
  await page.screenshot({ path: `${screenshots}/plan.png`, fullPage: true })
  await press('Discard 1 event')
  await has(page, 'given up for good')
  await page.screenshot({ path: `${screenshots}/discarded.png`, fullPage: true })

  await page.goto(new URL('list?inbox=&state=scheduled', base).href)
  await click('Run now all')
  await press('Run now 1 event')
  await has(page, 'ready now')

  await page.goto(new URL('list?inbox=&state=done', base).href)
  await click('Rerun all')
  await page.getByLabel('At most').fill('1')
  await press('Rerun')
  await has(page, '1 event of')
  await click('Back')

  await page.goto(base.href)
  await click('Resume')
  await press('Resume')
  await has(page, 'goes on')
  await page.context().close()
}

/** Another site can neither post a form, nor read or frame a page, nor lend its name. */
async function attacks(browser) {
  const evil = http.createServer((_, answer) => {
    answer.setHeader('content-type', 'text/html')
    answer.end(`<form method="post" action="${base.origin}/pause?inbox="><input name="by" value="evil"><button id="same">x</button></form>
      <form method="post" action="${plain.origin}/pause?inbox="><input name="by" value="evil"><button id="plain">x</button></form>
      <iframe src="${base.origin}/overview"></iframe>`)
  })
  await new Promise(resolve => evil.listen(0, '127.0.0.1', resolve))
  const port = evil.address().port
  for (const button of ['same', 'plain']) {
    for (const host of ['evil.test', '127.0.0.1']) {
      const page = await browser.newPage()
      page.setDefaultTimeout(10_000)
      await page.goto(`http://${host}:${port}/`)
      let framed = ''
      for (let tries = 0; framed === '' && tries < 100; tries++) {
        framed = page.frames()[1].url()
        await page.waitForTimeout(50)
      }
      check(framed.startsWith('chrome-error:'), `the board is framed by ${host}: ${framed}`)
      const [answer] = await Promise.all([page.waitForResponse(/pause/), page.click(`#${button}`)])
      check(answer.status() === 403, `a form of ${host} gets ${answer.status()} from ${button}`)
      await page.close()
    }
  }
  const page = await browser.newPage()
  const renamed = await page.goto(`http://evil.test:${base.port}/overview`)
  check(renamed.status() === 421, `the board answers to evil.test: ${renamed.status()}`)
  await page.goto(base.href)
  check(!(await page.locator('main').innerText()).includes('Paused'), 'another site has paused the inbox')
  evil.close()
}

async function main() {
  setTimeout(() => { console.log(JSON.stringify([...problems, 'it does not come to an end'])); process.exit(1) }, 120_000).unref()
  const browser = await chromium.launch({ executablePath, args, timeout: 60_000 })
  try {
    for (const part of [looks, keyboard, actions, attacks]) {
      console.error(part.name)
      await part(browser).catch(error => problems.push(`${part.name}: ${error}`))
    }
  } finally {
    await browser.close()
  }
  console.log(JSON.stringify(problems))
  process.exit()
}

main().catch(error => { console.error(error); process.exit(1) })
