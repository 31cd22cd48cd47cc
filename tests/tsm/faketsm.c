// SPDX-License-Identifier: GPL-2.0
/*
 * faketsm: a configfs-tsm provider whose quotes a program makes.
 *
 * For tests only, in a guest that is no TD, so that the kernel's own configfs-tsm
 * code runs: whoever has /dev/faketsm open plays the host's quote service.
 *
 * A read of /dev/faketsm waits for a request and gives its report data, 64 bytes.
 * A write answers the request that was read: 4 bytes of status in the byte order
 * of the machine, 0 or a negative errno, and after a 0 the quote.
 */

#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/tsm.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

/* As tdx-guest.c has it. */
#define REPORT_DATA_LEN 64

/* Beyond TSM_OUTBLOB_MAX, so that the limit of configfs can be met. */
#define ANSWER_MAX SZ_1M

static char *provider = "faketsm";
module_param(provider, charp, 0444);
MODULE_PARM_DESC(provider, "what the provider calls itself");

/* As tdx-guest.c waits. */
static unsigned int timeout_ms = 30000;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms, "how long a request waits for its answer");

/* The core has at most one request at a time. */
enum stage {
	STAGE_IDLE,
	STAGE_ASKED,
	STAGE_READ,
	STAGE_ANSWERED,
};

static DEFINE_MUTEX(lock);
static DECLARE_WAIT_QUEUE_HEAD(changed);
/* The rest is under the lock; waiters look at the stage without. */
static enum stage stage;
static u8 report_data[REPORT_DATA_LEN];
static int status;
static u8 *quote;
static size_t quote_len;

static void enter(enum stage next)
{
	WRITE_ONCE(stage, next);
	wake_up_all(&changed);
}

static int faketsm_report_new(struct tsm_report *report, void *data)
{
	long left;

	if (report->desc.inblob_len != REPORT_DATA_LEN)
		return -EINVAL;
	scoped_guard(mutex, &lock) {
		memcpy(report_data, report->desc.inblob, REPORT_DATA_LEN);
		enter(STAGE_ASKED);
	}
	left = wait_event_interruptible_timeout(changed,
						READ_ONCE(stage) == STAGE_ANSWERED,
						msecs_to_jiffies(READ_ONCE(timeout_ms)));
	guard(mutex)(&lock);
	if (stage != STAGE_ANSWERED) {
		enter(STAGE_IDLE);
		return left < 0 ? -EINTR : -ETIMEDOUT;
	}
	enter(STAGE_IDLE);
	if (status) {
		kvfree(quote);
		return status;
	}
	/* The core frees it with kvfree(). */
	report->outblob = quote;
	report->outblob_len = quote_len;
	return 0;
}

static bool faketsm_attr_visible(int n)
{
	return n == TSM_REPORT_GENERATION || n == TSM_REPORT_PROVIDER;
}

static bool faketsm_bin_attr_visible(int n)
{
	return n == TSM_REPORT_INBLOB || n == TSM_REPORT_OUTBLOB;
}

static struct tsm_ops faketsm_ops = {
	.report_new = faketsm_report_new,
	.report_attr_visible = faketsm_attr_visible,
	.report_bin_attr_visible = faketsm_bin_attr_visible,
};

static ssize_t faketsm_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	u8 taken[REPORT_DATA_LEN];

	if (count < sizeof(taken))
		return -EINVAL;
	for (;;) {
		int rc = wait_event_interruptible(changed, READ_ONCE(stage) == STAGE_ASKED);

		if (rc)
			return rc;
		guard(mutex)(&lock);
		if (stage != STAGE_ASKED)
			continue;
		memcpy(taken, report_data, sizeof(taken));
		enter(STAGE_READ);
		break;
	}
	return copy_to_user(to, taken, sizeof(taken)) ? -EFAULT : sizeof(taken);
}

static ssize_t faketsm_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	s32 answered;
	void *bytes;

	if (count < sizeof(answered))
		return -EINVAL;
	if (count > ANSWER_MAX)
		return -EMSGSIZE;
	if (copy_from_user(&answered, from, sizeof(answered)))
		return -EFAULT;
	if (answered > 0 || answered < -MAX_ERRNO)
		return -EINVAL;
	bytes = vmemdup_user(from + sizeof(answered), count - sizeof(answered));
	if (IS_ERR(bytes))
		return PTR_ERR(bytes);

	guard(mutex)(&lock);
	/* The request may have timed out. */
	if (stage != STAGE_READ) {
		kvfree(bytes);
		return -EPIPE;
	}
	/* The request takes it, in time or not. */
	quote = bytes;
	quote_len = count - sizeof(answered);
	status = answered;
	enter(STAGE_ANSWERED);
	return count;
}

static const struct file_operations faketsm_fops = {
	.owner = THIS_MODULE,
	.read = faketsm_read,
	.write = faketsm_write,
};

static struct miscdevice faketsm_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "faketsm",
	.fops = &faketsm_fops,
	.mode = 0600,
};

static int __init faketsm_init(void)
{
	int rc = misc_register(&faketsm_device);

	if (rc)
		return rc;
	faketsm_ops.name = provider;
	rc = tsm_register(&faketsm_ops, NULL);
	if (rc)
		misc_deregister(&faketsm_device);
	return rc;
}

static void __exit faketsm_exit(void)
{
	tsm_unregister(&faketsm_ops);
	misc_deregister(&faketsm_device);
}

module_init(faketsm_init);
module_exit(faketsm_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("configfs-tsm provider for tests");
